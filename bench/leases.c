/*
 * leases.c - what leases cost a node, by its control socket alone: no library is between. One line of JSON.
 *
 *	bench_leases SOCKET grant ROUNDS MS     from the request's first byte to the answer with the lanes, with a sandbox of the hot pool waiting; each after a rest
 *	bench_leases - echo ROUNDS MS           beside it: as many bytes there and back between two processes that rest as long
 *	bench_leases SOCKET rate SECONDS        grants and releases a second, 16 at a time, each with a sandbox of its own
 *	bench_leases SOCKET idle COUNT SECONDS PID   COUNT leases that are renewed and not used: the node's CPU time, and renewals that came late
 *	bench_leases - table ROUNDS             grants and releases of the table alone, beside 2,000 live leases: no sandbox, no socket
 *
 * bench/leases.py starts the node, runs them all and prints the table. One thread.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "allocator/lease.h"
#include "util/clock.h"
#include "util/histogram.h"

#define WAIT_MS	   30000
#define ECHO_BYTES 512
#define AT_ONCE	   16
#define TTL_MS	   4000
#define LIVE	   2000
#define OPEN_MS	   4
#define ANSWER	   65536
#define BODY                                                                      \
	"{\"module\":\"bench\",\"slots\":1,\"in_capacity\":1,\"out_capacity\":1," \
	"\"memory_bytes\":16777216,\"ttl_ms\":4000,\"hot_us\":0}"
#define DEFAULT_BODY "{\"module\":\"bench\"}"

static void __attribute__((noreturn)) die(const char *what, const char *why)
{
	fprintf(stderr, "bench_leases: %s: %s\n", what, why);
	exit(1);
}

/* ---- one lease: a connection ---- */

static int dial(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof(address.sun_path))
		die(path, "too long");
	memcpy(address.sun_path, path, strlen(path));
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
		die(path, strerror(errno));
	return fd;
}

static void ask(int fd, const char *body)
{
	char text[1024];
	int n = snprintf(text, sizeof(text),
			 "POST /v1/leases HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n"
			 "Upgrade: adverb-lane/1\r\nContent-Type: application/json\r\n"
			 "Content-Length: %zu\r\n\r\n%s",
			 strlen(body), body);
	if (send(fd, text, (size_t)n, MSG_NOSIGNAL) != n)
		die("a request", strerror(errno));
}

static void await(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	if (poll(&p, 1, WAIT_MS) != 1)
		die("the node", "it says nothing for 30 s");
}

/* Head, grant and the byte that brings the descriptors, which are closed. */
static void granted(int fd)
{
	static char answer[ANSWER];
	size_t n = 0, whole = SIZE_MAX;
	while (n < whole) {
		union {
			char bytes[CMSG_SPACE(sizeof(int) * 8)];
			struct cmsghdr align;
		} control;
		struct iovec iov = {.iov_base = answer + n, .iov_len = sizeof(answer) - 1 - n};
		struct msghdr msg = {.msg_iov = &iov,
				     .msg_iovlen = 1,
				     .msg_control = control.bytes,
				     .msg_controllen = sizeof(control.bytes)};
		await(fd);
		ssize_t got = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
		if (got <= 0)
			die("an answer", got < 0 ? strerror(errno) : "the node closed");
		struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
		for (size_t i = 0; c != NULL && i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		     i++) {
			int passed;
			memcpy(&passed, CMSG_DATA(c) + i * sizeof(int), sizeof(passed));
			close(passed);
		}
		n += (size_t)got;
		answer[n] = '\0';
		char *head = strstr(answer, "\r\n\r\n"), *size = strstr(answer, "Adverb-Grant: ");
		if (head != NULL && strncmp(answer, "HTTP/1.1 101", 12) != 0)
			die("a lease", head + 4);
		if (head != NULL && size != NULL)
			whole = (size_t)(head + 4 - answer) +
				strtoul(size + strlen("Adverb-Grant: "), NULL, 10) + 1;
	}
}

static void say(int fd, const char *line)
{
	if (send(fd, line, strlen(line), MSG_NOSIGNAL) != (ssize_t)strlen(line))
		die("a word to the node", strerror(errno));
}

/* Reads until the node closes. */
static void released(int fd)
{
	char text[256];
	for (;;) {
		await(fd);
		ssize_t n = recv(fd, text, sizeof(text), 0);
		if (n <= 0)
			break;
	}
	close(fd);
}

static void rest(long ms)
{
	const struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
	nanosleep(&t, NULL);
}

/* ---- how long ---- */

static void tell(const struct adv_histogram *h)
{
	printf("{\"p50\": %llu, \"p90\": %llu, \"p99\": %llu}\n",
	       (unsigned long long)adv_histogram_quantile(h, 0.5),
	       (unsigned long long)adv_histogram_quantile(h, 0.9),
	       (unsigned long long)adv_histogram_quantile(h, 0.99));
}

static void grants(const char *path, unsigned long rounds, unsigned long rest_ms)
{
	static struct adv_histogram h;
	for (unsigned long i = 0; i < rounds; i++) {
		int fd = dial(path); /* as a client has one at rest */
		rest((long)rest_ms); /* the pool is full again, and all sleep */
		uint64_t begun_ns = adv_clock_monotonic_ns();
		ask(fd, DEFAULT_BODY);
		granted(fd);
		adv_histogram_add(&h, adv_clock_monotonic_ns() - begun_ns);
		say(fd, "release\n");
		released(fd);
	}
	tell(&h);
}

/* What the machine takes to wake two processes, one after the other. */
static void echo(unsigned long rounds, unsigned long rest_ms)
{
	static struct adv_histogram h;
	char bytes[ECHO_BYTES] = {0};
	int ends[2];
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) < 0)
		die("a socket pair", strerror(errno));
	pid_t child = fork();
	if (child == 0) {
		close(ends[0]);
		for (ssize_t n; (n = read(ends[1], bytes, sizeof(bytes))) > 0;)
			if (write(ends[1], bytes, (size_t)n) != n)
				break;
		_exit(0);
	}
	close(ends[1]);
	for (unsigned long i = 0; i < rounds; i++) {
		rest((long)rest_ms);
		uint64_t begun_ns = adv_clock_monotonic_ns();
		if (write(ends[0], bytes, sizeof(bytes)) != sizeof(bytes) ||
		    recv(ends[0], bytes, sizeof(bytes), MSG_WAITALL) != sizeof(bytes))
			die("an echo", strerror(errno));
		adv_histogram_add(&h, adv_clock_monotonic_ns() - begun_ns);
	}
	close(ends[0]);
	waitpid(child, NULL, 0);
	tell(&h);
}

static void rate(const char *path, unsigned long seconds)
{
	int fds[AT_ONCE];
	uint64_t done = 0, begun_ns = adv_clock_monotonic_ns(),
		 end_ns = begun_ns + seconds * ADV_SEC;
	while (adv_clock_monotonic_ns() < end_ns) {
		for (int i = 0; i < AT_ONCE; i++)
			ask(fds[i] = dial(path), BODY);
		for (int i = 0; i < AT_ONCE; i++) {
			granted(fds[i]);
			say(fds[i], "release\n");
		}
		for (int i = 0; i < AT_ONCE; i++)
			released(fds[i]);
		done += AT_ONCE;
	}
	printf("{\"per_second\": %.1f}\n",
	       (double)done / ((double)(adv_clock_monotonic_ns() - begun_ns) / 1e9));
}

/* ---- many that do nothing ---- */

/* Of the node's first thread: the control thread. */
static double cpu_seconds(unsigned long pid)
{
	char path[64], text[1024];
	unsigned long user, system;
	snprintf(path, sizeof(path), "/proc/%lu/task/%lu/stat", pid, pid);
	FILE *f = fopen(path, "re");
	if (f == NULL || fgets(text, sizeof(text), f) == NULL)
		die(path, strerror(errno));
	fclose(f);
	char *behind = strrchr(text, ')');
	if (behind == NULL ||
	    sscanf(behind, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user,
		   &system) != 2)
		die(path, "it has no times");
	return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

struct live {
	int fd;
	uint64_t expires_ns, renew_ns, asked_ns;
};

/* What the node says to one: it is renewed, or it is over. */
static bool hear(struct live *l)
{
	char text[256];
	ssize_t n = recv(l->fd, text, sizeof(text) - 1, MSG_DONTWAIT);
	if (n < 0 && errno == EAGAIN)
		return true;
	if (n <= 0 || strncmp(text, "renewed ", 8) != 0)
		return false;
	l->expires_ns = l->asked_ns + TTL_MS * ADV_MS;
	return true;
}

static void idle(const char *path, unsigned long count, unsigned long seconds, unsigned long pid)
{
	struct live *all = calloc(count, sizeof(*all));
	struct pollfd *fds = calloc(count, sizeof(*fds));
	unsigned long renewals = 0, lost = 0;
	if (all == NULL || fds == NULL)
		die("memory", "none");
	uint64_t begun_ns = 0;
	double before = 0;
	unsigned long opened = 0;
	for (;;) {
		uint64_t now = adv_clock_monotonic_ns();
		/* One more, while those that are there are kept; then the time that counts. */
		if (opened < count) {
			struct live *l = &all[opened];
			l->fd = dial(path);
			l->asked_ns = adv_clock_monotonic_ns();
			ask(l->fd, BODY);
			granted(l->fd);
			l->expires_ns = l->asked_ns + TTL_MS * ADV_MS;
			l->renew_ns = l->asked_ns + TTL_MS / 2 * ADV_MS;
			fds[opened++] = (struct pollfd){.fd = l->fd, .events = POLLIN};
			rest(OPEN_MS); /* a lease is granted before its sandbox is built */
		} else if (begun_ns == 0) {
			begun_ns = now;
			before = cpu_seconds(pid);
			renewals = 0;
		} else if (now - begun_ns >= seconds * ADV_SEC) {
			break;
		}
		for (unsigned long i = 0; i < opened; i++)
			if (all[i].fd >= 0 && all[i].renew_ns <= now) {
				all[i].asked_ns = now;
				all[i].renew_ns = now + TTL_MS / 2 * ADV_MS;
				say(all[i].fd, "renew 0\n");
				renewals++;
			}
		poll(fds, opened, opened < count ? 0 : 5);
		for (unsigned long i = 0; i < opened; i++)
			if (fds[i].revents != 0 && !hear(&all[i])) {
				lost++;
				close(all[i].fd);
				all[i].fd = fds[i].fd = -1;
			}
	}
	double took_s = (double)(adv_clock_monotonic_ns() - begun_ns) / 1e9;
	double used = cpu_seconds(pid) - before;
	printf("{\"live\": %lu, \"seconds\": %.1f, \"cpu_percent\": %.2f, \"renewals\": %lu, "
	       "\"late\": %lu}\n",
	       count - lost, took_s, 100 * used / took_s, renewals, lost);
	for (unsigned long i = 0; i < count; i++)
		close(all[i].fd);
}

/* ---- the table alone ---- */

static struct adv_lease_entry *grant(struct adv_leases *leases, const struct adv_lease_wish *w,
				     uint64_t now_ns)
{
	char reason[256];
	struct adv_lease_entry *e;
	if (adv_leases_grant(leases, w, now_ns, &e, reason, sizeof(reason)) != ADV_OK)
		die("the table", reason);
	if (adv_leases_attach(leases, e, w->tenant, e->token, now_ns) != ADV_OK)
		die("the table", "a lease could not be attached");
	return e;
}

static void table(unsigned long rounds)
{
	char reason[256];
	struct adv_cores *cores;
	struct adv_leases *leases;
	struct adv_shares *shares;
	const struct adv_cores_options co = {.oversubscribe = ADV_OVERSUBSCRIBE_TURNS};
	const struct adv_shares_options so = {.each = {.leases = 3000}};
	if (adv_cores_create(&co, &cores, reason, sizeof(reason)) < 0)
		die("the core map", reason);
	if (adv_shares_create(&so, &shares) < 0)
		die("shares", "no memory");
	const struct adv_leases_options lo = {.max_leases = ADV_LEASES_MAX,
					      .memory_bytes = UINT64_MAX,
					      .cores = cores,
					      .shares = shares};
	if (adv_leases_create(&lo, &leases) < 0)
		die("the table", "no memory");
	struct adv_lease_wish w = {.workers = 1,
				   .slots = 1,
				   .in_capacity = 1,
				   .out_capacity = 1,
				   .memory_bytes = ADV_LEASE_MEMORY_MIN,
				   .ttl_ms = TTL_MS};
	uint64_t now = ADV_SEC;
	for (uint32_t i = 0; i < LIVE; i++, now += ADV_MS) {
		w.tenant = i % 100;
		grant(leases, &w, now);
	}
	uint64_t begun_ns = adv_clock_monotonic_ns();
	for (unsigned long i = 0; i < rounds; i++) {
		w.tenant = (uint32_t)(i % 100);
		struct adv_lease_entry *e = grant(leases, &w, now);
		adv_leases_renew(leases, e, 0, now);
		adv_leases_end(leases, e, ADV_CLOSED);
		adv_leases_forget(leases, e);
	}
	double took_s = (double)(adv_clock_monotonic_ns() - begun_ns) / 1e9;
	printf("{\"per_second\": %.0f}\n", (double)rounds / took_s);
	adv_leases_destroy(leases);
	adv_shares_destroy(shares);
	adv_cores_destroy(cores);
}

int main(int argc, char **argv)
{
	struct rlimit files;
	unsigned long n = argc >= 4 ? strtoul(argv[3], NULL, 10) : 0;
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	if (n > 0 && argc == 5 && strcmp(argv[2], "grant") == 0)
		grants(argv[1], n, strtoul(argv[4], NULL, 10));
	else if (n > 0 && argc == 5 && strcmp(argv[2], "echo") == 0)
		echo(n, strtoul(argv[4], NULL, 10));
	else if (n > 0 && strcmp(argv[2], "rate") == 0)
		rate(argv[1], n);
	else if (n > 0 && strcmp(argv[2], "table") == 0)
		table(n);
	else if (n > 0 && argc == 6 && strcmp(argv[2], "idle") == 0)
		idle(argv[1], n, strtoul(argv[4], NULL, 10), strtoul(argv[5], NULL, 10));
	else
		die("usage",
		    "bench_leases SOCKET grant|echo|rate|idle|table NUMBER [MS | SECONDS PID]");
	return 0;
}
