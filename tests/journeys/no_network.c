/* Preloaded into a watched process and all that it starts: there is no network but this machine's own, and what is
   tried is noted, a line each, in the file that WATCHED names: "lookup NAME" and "connect ADDRESS". A program that
   brings its own HTTP client or resolver comes through here too, because both end in these calls of libc. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void note(const char *what, const char *name) {
    const char *path = getenv("WATCHED");
    int file = path ? open(path, O_WRONLY | O_APPEND | O_CREAT, 0600) : -1;
    if (file < 0) abort(); /* nothing passes unseen */
    char line[512];
    int length = snprintf(line, sizeof line, "%s %s\n", what, name);
    if (write(file, line, length) != length) abort();
    close(file);
}

static int is_here(const char *name) {
    char own[256] = "";
    struct in_addr four;
    struct in6_addr six;
    gethostname(own, sizeof own - 1);
    return !name || !*name || !strcmp(name, "localhost") || !strcmp(name, own) || inet_pton(AF_INET, name, &four) ||
           inet_pton(AF_INET6, name, &six);
}

static int may_reach(const struct sockaddr *to) {
    char name[INET6_ADDRSTRLEN] = "";
    if (to && to->sa_family == AF_INET) {
        const struct in_addr *four = &((const struct sockaddr_in *)to)->sin_addr;
        if (ntohl(four->s_addr) >> 24 == 127 || four->s_addr == 0) return 1;
        inet_ntop(AF_INET, four, name, sizeof name);
    } else if (to && to->sa_family == AF_INET6) {
        const struct in6_addr *six = &((const struct sockaddr_in6 *)to)->sin6_addr;
        if (IN6_IS_ADDR_LOOPBACK(six) || IN6_IS_ADDR_UNSPECIFIED(six)) return 1;
        if (IN6_IS_ADDR_V4MAPPED(six) && six->s6_addr[12] == 127) return 1;
        inet_ntop(AF_INET6, six, name, sizeof name);
    } else {
        return 1; /* between processes of this machine */
    }
    note("connect", name);
    errno = ENETUNREACH;
    return 0;
}

#define NEXT(name, ...) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))(__VA_ARGS__)

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
    if (is_here(name)) return NEXT(getaddrinfo, name, service, hints, found);
    note("lookup", name);
    return EAI_NONAME;
}

struct hostent *gethostbyname(const char *name) {
    if (is_here(name)) return NEXT(gethostbyname, name);
    note("lookup", name);
    h_errno = HOST_NOT_FOUND;
    return NULL;
}

struct hostent *gethostbyname2(const char *name, int family) {
    if (is_here(name)) return NEXT(gethostbyname2, name, family);
    note("lookup", name);
    h_errno = HOST_NOT_FOUND;
    return NULL;
}

int gethostbyname_r(const char *name, struct hostent *host, char *buffer, size_t size, struct hostent **found, int *why) {
    if (is_here(name)) return NEXT(gethostbyname_r, name, host, buffer, size, found, why);
    note("lookup", name);
    *found = NULL;
    *why = HOST_NOT_FOUND;
    return 0;
}

int connect(int socket, const struct sockaddr *to, socklen_t length) {
    return may_reach(to) ? NEXT(connect, socket, to, length) : -1;
}

ssize_t sendto(int socket, const void *bytes, size_t size, int flags, const struct sockaddr *to, socklen_t length) {
    return may_reach(to) ? NEXT(sendto, socket, bytes, size, flags, to, length) : -1;
}

ssize_t sendmsg(int socket, const struct msghdr *message, int flags) {
    return may_reach(message->msg_name) ? NEXT(sendmsg, socket, message, flags) : -1;
}

int sendmmsg(int socket, struct mmsghdr *messages, unsigned count, int flags) {
    for (unsigned each = 0; each < count; each++)
        if (!may_reach(messages[each].msg_hdr.msg_name)) return -1;
    return NEXT(sendmmsg, socket, messages, count, flags);
}
