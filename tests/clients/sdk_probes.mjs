// What each option of Vercel's provider sends, as sdk_probes.py tells it of the others; the options are those of its own types.
import { readFileSync } from "node:fs";
import { embedMany } from "ai";
import { createJina } from "jina-ai-provider";

const types = readFileSync(new URL("./node_modules/jina-ai-provider/dist/index.d.ts", import.meta.url), "utf8");
const schema = types.slice(types.indexOf("jinaEmbeddingOptions: z.ZodObject"), types.indexOf("z.core.$strip"));
const names = [...schema.matchAll(/^ {4}(\w+): z\.ZodOptional/gm)].map((found) => found[1]);
const values = {
  inputType: "retrieval.query", outputDimension: 64, lateChunking: true, embeddingType: "ubinary", normalized: false, truncate: true,
};

async function sent(options) {
  let body;
  const keep = async (url, request) => {
    body = JSON.parse(request.body);
    return new Response("{}", { status: 422 });
  };
  const jina = createJina({ baseURL: "http://127.0.0.1:1/v1", apiKey: "any", fetch: keep });
  const model = jina.textEmbeddingModel("babelclip-small");
  await embedMany({ model, values: ["a dog"], providerOptions: { jina: options }, maxRetries: 0 }).catch(() => {});
  return body;
}

const plain = await sent({});
const parameters = {};
for (const name of names) {
  if (!(name in values)) throw new Error(`${name} is new: give it a value`);
  const body = await sent({ [name]: values[name] });
  const fields = Object.keys(body).filter((key) => JSON.stringify(body[key]) !== JSON.stringify(plain[key])).sort();
  parameters[name] = fields.length ? [{ path: "/v1/embeddings", body, fields }] : [];
}
console.log("RESULT", JSON.stringify({ textEmbeddingModel: { plain, parameters } }));
