"""How babelclip-base comes to a machine: the image tower of CLIP is fetched, our text tower and a turn are added."""
