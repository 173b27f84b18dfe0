/*
 * address.c - where a node is: what an address says, which token goes with it, and a connection to it. Any thread.
 * A token is a secret: no text ever shows it.
 */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>

#include "client/internal.h"
#include "util/fd.h"

#define SYSTEM_SOCKET "/run/adverb/adverb.sock"
#define SILENT_MS     3000 /* a node that does not answer the kernel for so long is gone */
#define LOOK_MS	      1000 /* for a node on this machine: see same_machine() */

/* ---- what an address says ---- */

static enum adv_status path_set(struct adv_address *a, const char *from)
{
	if (from[0] == '\0' || strlen(from) >= ADV_SOCKET_PATH_MAX)
		return adv_client_fail(ADV_INVALID,
				       "\"%.200s\" is not the path of a socket (1 to %zu bytes)",
				       from, ADV_SOCKET_PATH_MAX - 1);
	a->kind = ADV_ADDRESS_UNIX;
	snprintf(a->path, sizeof(a->path), "%s", from);
	snprintf(a->text, sizeof(a->text), "%s", from);
	return ADV_OK;
}

static bool port_ok(const char *port)
{
	size_t digits = strspn(port, "0123456789");
	return digits >= 1 && digits <= 5 && port[digits] == '\0' && atol(port) >= 1 &&
	       atol(port) <= UINT16_MAX;
}

socklen_t adv_address_size(const struct sockaddr_storage *address)
{
	return address->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6)
					      : sizeof(struct sockaddr_in);
}

/* "?from=ADDRESS": which of this machine's addresses, and so which of its devices. */
static enum adv_status from_set(struct adv_address *a, const char *query)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST};
	struct addrinfo *list;
	if (strncmp(query, "?from=", strlen("?from=")) != 0 ||
	    getaddrinfo(query + strlen("?from="), NULL, &hints, &list) != 0)
		return adv_client_fail(
			ADV_INVALID,
			"\"%.100s\": behind the port may stand ?from=ADDRESS, one of this "
			"machine's, in numbers",
			query);
	memcpy(&a->from, list->ai_addr, list->ai_addrlen);
	freeaddrinfo(list);
	return ADV_OK;
}

/* HOST, HOST:PORT, [V6] or [V6]:PORT; then perhaps ?from=ADDRESS. */
static enum adv_status host_set(struct adv_address *a, enum adv_address_kind kind, const char *all)
{
	char from[ADV_HOST_MAX + 16];
	const char *query = strchr(all, '?');
	size_t length = query != NULL ? (size_t)(query - all) : strlen(all);
	if (length >= sizeof(from))
		return adv_client_fail(ADV_INVALID, "\"%.60s...\" is too long for an address", all);
	snprintf(from, sizeof(from), "%.*s", (int)length, all);
	if (query != NULL && from_set(a, query) != ADV_OK)
		return ADV_INVALID;
	const char *colon = strrchr(from, ':');
	const char *bracket = from[0] == '[' ? strchr(from, ']') : NULL;
	const char *begin = from + (bracket != NULL);
	const char *end = bracket != NULL ? bracket : colon != NULL ? colon : from + strlen(from);
	const char *after = bracket != NULL ? bracket + 1 : end;
	bool one_colon = bracket != NULL || colon == NULL || strchr(from, ':') == colon;
	if (end <= begin || (size_t)(end - begin) >= sizeof(a->host) || !one_colon ||
	    (*after != '\0' && (*after != ':' || !port_ok(after + 1))))
		return adv_client_fail(ADV_INVALID,
				       "\"%.200s\" is not HOST:PORT (an IPv6 address in brackets)",
				       from);
	a->kind = kind;
	snprintf(a->host, sizeof(a->host), "%.*s", (int)(end - begin), begin);
	snprintf(a->port, sizeof(a->port), "%d",
		 *after == ':' ? atoi(after + 1) : ADV_VERBS_PORT_DEFAULT);
	snprintf(a->text, sizeof(a->text), bracket != NULL ? "%s://[%s]:%s" : "%s://%s:%s",
		 kind == ADV_ADDRESS_VERBS ? "verbs" : "tcp", a->host, a->port);
	return ADV_OK;
}

/* ---- the token ---- */

static enum adv_status token_set(struct adv_address *a, const char *token, size_t size,
				 const char *where)
{
	while (size > 0 && (token[size - 1] == '\n' || token[size - 1] == '\r'))
		size--;
	bool ok = size >= 1 && size <= ADV_CLIENT_TOKEN_MAX;
	for (size_t i = 0; i < size && ok; i++)
		ok = token[i] > ' ' && token[i] < 0x7f;
	if (!ok)
		return adv_client_fail(
			ADV_INVALID, "%s holds no token: one line of 1 to %d printable characters",
			where, ADV_CLIENT_TOKEN_MAX);
	memcpy(a->token, token, size);
	a->token[size] = '\0';
	return ADV_OK;
}

static enum adv_status token_read(struct adv_address *a, const char *file, bool must_exist)
{
	char bytes[ADV_CLIENT_TOKEN_MAX + 3];
	struct stat st;
	ADV_CLEANUP_FD int fd = open(file, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0 && errno == ENOENT && !must_exist)
		return ADV_OK;
	if (fd < 0 || fstat(fd, &st) < 0)
		return adv_client_fail(ADV_SYSTEM, "the token's file %s: %s", file,
				       strerror(errno));
	if ((st.st_mode & 077) != 0)
		return adv_client_fail(ADV_FORBIDDEN,
				       "the token's file %s may be read by others: chmod 600 it",
				       file);
	ssize_t n = read(fd, bytes, sizeof(bytes));
	if (n < 0)
		return adv_client_fail(ADV_SYSTEM, "the token's file %s: %s", file,
				       strerror(errno));
	return token_set(a, bytes, (size_t)n, file);
}

/* $ADVERB_TOKEN, or the file that $ADVERB_TOKEN_FILE names, or adverb/token among the user's configuration. */
static enum adv_status token_find(struct adv_address *a)
{
	char file[4096] = "";
	const char *token = secure_getenv("ADVERB_TOKEN");
	const char *named = secure_getenv("ADVERB_TOKEN_FILE");
	const char *config = secure_getenv("XDG_CONFIG_HOME"), *home = secure_getenv("HOME");
	if (token != NULL && token[0] != '\0')
		return token_set(a, token, strlen(token), "ADVERB_TOKEN");
	if (named != NULL && named[0] != '\0')
		return token_read(a, named, true);
	if (config != NULL && config[0] == '/')
		snprintf(file, sizeof(file), "%s/adverb/token", config);
	else if (home != NULL && home[0] == '/')
		snprintf(file, sizeof(file), "%s/.config/adverb/token", home);
	return file[0] != '\0' ? token_read(a, file, false) : ADV_OK;
}

/* ---- finding ---- */

static bool starts(const char *text, const char *with)
{
	return strncmp(text, with, strlen(with)) == 0;
}

static bool session_socket(char path[ADV_SOCKET_PATH_MAX])
{
	const char *runtime = secure_getenv("XDG_RUNTIME_DIR");
	return runtime != NULL && runtime[0] != '\0' &&
	       snprintf(path, ADV_SOCKET_PATH_MAX, "%s/adverb/adverb.sock", runtime) <
		       (int)ADV_SOCKET_PATH_MAX;
}

static enum adv_status find_local(struct adv_address *a)
{
	char session[ADV_SOCKET_PATH_MAX] = "";
	if (!session_socket(session))
		session[0] = '\0';
	if (session[0] != '\0' && access(session, F_OK) == 0)
		return path_set(a, session);
	if (access(SYSTEM_SOCKET, F_OK) == 0)
		return path_set(a, SYSTEM_SOCKET);
	return adv_client_fail(ADV_NO_NODE,
			       "no node: %s%s%s does not exist; start one with `adverb serve`, or "
			       "name its socket in ADVERB_HOST",
			       session, session[0] != '\0' ? " or " : "", SYSTEM_SOCKET);
}

/* An address without a scheme may mean the node of this machine: then its socket is nearer. */
static void prefer_local(struct adv_address *a)
{
	struct adv_address local = {0};
	struct adv_node_run there, here;
	uint64_t deadline = adv_client_deadline(LOOK_MS);
	if (find_local(&local) == ADV_OK &&
	    adv_client_node_run(&local, deadline, &here) == ADV_OK &&
	    adv_client_node_run(a, deadline, &there) == ADV_OK &&
	    adv_client_node_run_same(&here, &there))
		*a = local;
}

static enum adv_status find_host(const char *host, struct adv_address *a)
{
	if (starts(host, "unix:"))
		return path_set(a, host + strlen("unix:"));
	if (strchr(host, '/') != NULL && strstr(host, "://") == NULL)
		return path_set(a, host);
	bool tcp = starts(host, "tcp://"), verbs = starts(host, "verbs://");
	if (!tcp && !verbs && strstr(host, "://") != NULL)
		return adv_client_fail(ADV_INVALID,
				       "\"%.200s\": an address is unix:PATH, verbs://HOST:PORT or "
				       "tcp://HOST:PORT",
				       host);
	enum adv_status status = host_set(a, tcp ? ADV_ADDRESS_TCP : ADV_ADDRESS_VERBS,
					  tcp	  ? host + strlen("tcp://")
					  : verbs ? host + strlen("verbs://")
						  : host);
	if (status == ADV_OK)
		status = token_find(a);
	if (status == ADV_OK && !tcp && !verbs)
		prefer_local(a);
	return status;
}

enum adv_status adv_address_find(const char *host, struct adv_address *address)
{
	struct adv_address a = {0};
	if (host == NULL)
		host = secure_getenv("ADVERB_HOST");
	enum adv_status status =
		host != NULL && host[0] != '\0' ? find_host(host, &a) : find_local(&a);
	if (status == ADV_OK)
		*address = a;
	return status;
}

/* ---- dialling ---- */

static enum adv_status dial_failed(const struct adv_address *a, int error)
{
	const char *hint =
		error == ENOENT || (error == ECONNREFUSED && a->kind == ADV_ADDRESS_UNIX)
			? "start a node with `adverb serve`, or name its socket in ADVERB_HOST"
		: error == ECONNREFUSED
			? "is a node started there with --verbs or --control, and this its port?"
		: error == EACCES || error == EPERM ? "the socket's owner must let this user in"
		: error == EAGAIN		    ? "it takes no connections: is it stopped?"
						    : "is that an Adverb node's address?";
	return adv_client_fail(ADV_NO_NODE, "no node at %s: %s; %s", a->text, strerror(error),
			       hint);
}

static enum adv_status dial_unix(const struct adv_address *a, uint64_t deadline_ns, int *out)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	ADV_CLEANUP_FD int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return adv_client_fail(ADV_SYSTEM, "no socket for %s: %s", a->text,
				       strerror(errno));
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", a->path);
	for (;;) {
		/* A full backlog blocks connect() for as long as the send timeout says. */
		int left = adv_client_left_ms(deadline_ns);
		struct timeval limit = {.tv_sec = left / 1000, .tv_usec = left % 1000 * 1000};
		if (left == 0)
			return dial_failed(a, EAGAIN);
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
		if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
			break;
		if (errno != EINTR)
			return dial_failed(a, errno);
	}
	*out = adv_fd_steal(&fd);
	return ADV_OK;
}

/* Small requests leave at once, and a peer that falls silent is noticed. A kernel that knows less is served without. */
static void tune(int fd)
{
	static const struct {
		int level, name, value;
	} options[] = {
		{IPPROTO_TCP, TCP_NODELAY, 1},	{SOL_SOCKET, SO_KEEPALIVE, 1},
		{IPPROTO_TCP, TCP_KEEPIDLE, 1}, {IPPROTO_TCP, TCP_KEEPINTVL, 1},
		{IPPROTO_TCP, TCP_KEEPCNT, 3},	{IPPROTO_TCP, TCP_USER_TIMEOUT, SILENT_MS},
	};
	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
		(void)setsockopt(fd, options[i].level, options[i].name, &options[i].value,
				 sizeof(options[i].value));
}

/* 0 or errno. */
static int connect_within(int fd, const struct addrinfo *to, uint64_t deadline_ns)
{
	struct pollfd p = {.fd = fd, .events = POLLOUT};
	int error = 0;
	socklen_t size = sizeof(error);
	if (connect(fd, to->ai_addr, to->ai_addrlen) == 0)
		return 0;
	if (errno != EINPROGRESS)
		return errno;
	while (poll(&p, 1, adv_client_left_ms(deadline_ns)) == 0 || p.revents == 0)
		if (adv_client_left_ms(deadline_ns) == 0)
			return ETIMEDOUT;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
		return errno;
	return error;
}

static bool bind_from(const struct adv_address *a, int fd)
{
	return a->from.ss_family == 0 ||
	       bind(fd, (const struct sockaddr *)&a->from, adv_address_size(&a->from)) == 0;
}

/* The first of the host's addresses that answers. */
static enum adv_status dial_tcp(const struct adv_address *a, uint64_t deadline_ns, int *out)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_family = AF_UNSPEC};
	struct addrinfo *list;
	int rc = getaddrinfo(a->host, a->port, &hints, &list), error = EHOSTUNREACH;
	if (rc != 0)
		return adv_client_fail(ADV_NO_NODE, "no host %s: %s", a->host, gai_strerror(rc));
	for (const struct addrinfo *to = list; to != NULL; to = to->ai_next) {
		ADV_CLEANUP_FD int fd =
			socket(to->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		error = fd < 0 || !bind_from(a, fd) ? errno : connect_within(fd, to, deadline_ns);
		if (error != 0)
			continue;
		tune(fd);
		(void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
		*out = adv_fd_steal(&fd);
		break;
	}
	freeaddrinfo(list);
	return error == 0 ? ADV_OK : dial_failed(a, error);
}

enum adv_status adv_client_dial(const struct adv_address *a, uint64_t deadline_ns, int *fd)
{
	return a->kind == ADV_ADDRESS_UNIX ? dial_unix(a, deadline_ns, fd)
					   : dial_tcp(a, deadline_ns, fd);
}
