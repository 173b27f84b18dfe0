/*
 * keeper.c - the thread that keeps one lease: renews it, hears of its revocation and of its end, notices that the node is gone.
 * Runs on a thread of its own, all signals blocked; tells the caller's thread by atomics and the lease's eventfd.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "client/internal.h"
#include "util/clock.h"
#include "util/fd.h"
#include "util/parse.h"

#define POPULATE_BYTES_MAX \
	(512 * ADV_KIB)		      /* slots this small get their pages before they are used */
#define STACK_BYTES   (512 * ADV_KIB) /* reserved, not used: a page or two is */
#define START_LOOK_MS 5		      /* from one look whether the lease is there to the next */
#define LOOK_MS	      500	      /* for one look whether the node is back */
#define LOOKS_MAX     8
#define FIRST_LOOK_NS (50 * ADV_MS) /* to the second; then each four times later */

static void poke(int fd)
{
	uint64_t one = 1;
	/* A counter that is full is readable too. */
	ssize_t ignored = write(fd, &one, sizeof(one));
	(void)ignored;
}

static void drain(int fd)
{
	uint64_t count;
	ssize_t ignored = read(fd, &count, sizeof(count));
	(void)ignored;
}

/* ---- telling the caller's thread ---- */

/* Release: pairs with the acquire loads of submit and poll. */
static void tell_state(struct adv_keeper *k, enum adv_status status)
{
	atomic_store_explicit(&k->state, (uint32_t)status, memory_order_release);
	poke(k->event);
}

static void tell_over(struct adv_keeper *k, enum adv_status status)
{
	atomic_store_explicit(&k->lost, (uint32_t)status, memory_order_release);
	tell_state(k, status);
}

static uint32_t state_now(const struct adv_keeper *k)
{
	return atomic_load_explicit(&k->state, memory_order_relaxed);
}

static bool is_over(const struct adv_keeper *k)
{
	return atomic_load_explicit(&k->lost, memory_order_relaxed) != ADV_OK;
}

/* No word will come any more. */
static void hang_up(struct adv_keeper *k, enum adv_status status)
{
	adv_fd_close(&k->connection);
	if (!is_over(k))
		tell_over(k, status);
}

/* ---- what the node says ---- */

static void heard_renewed(struct adv_keeper *k, uint64_t ttl_ms)
{
	if (!k->renewing || ttl_ms > ADV_LEASE_TTL_MS_MAX) {
		hang_up(k, ADV_PROTOCOL);
		return;
	}
	/* Counted from when it was asked for: the node counts from later. */
	k->renewing = false;
	k->asked_ns = k->renewal_ns;
	k->ttl_ns = ttl_ms * ADV_MS;
	k->expires_ns = adv_clock_add(k->asked_ns, k->ttl_ns);
	atomic_fetch_add_explicit(&k->renewals, 1, memory_order_relaxed);
	if (state_now(k) == ADV_EXPIRED && !is_over(k))
		tell_state(k, ADV_OK); /* the answer came late, the lease lives */
}

static void heard_line(struct adv_keeper *k, const char *line)
{
	uint64_t number;
	if (strncmp(line, "renewed ", 8) == 0) {
		if (adv_parse_u64(line + 8, &number) == 0)
			heard_renewed(k, number);
		else
			hang_up(k, ADV_PROTOCOL);
	} else if (strncmp(line, "refused ", 8) == 0) {
		k->renewing = false;
		k->renew = false; /* it ends when it ends */
	} else if (strncmp(line, "revoked ", 8) == 0) {
		k->renew = false;
		tell_state(k, ADV_REVOKED);
	} else if (strncmp(line, "ended ", 6) == 0) {
		int status = adv_status_from_name(line + 6);
		hang_up(k, status > ADV_OK ? (enum adv_status)status : ADV_PROTOCOL);
	}
	/* Other words are a newer node's: it may say more than this library needs. */
}

/* The lines that are whole. */
static void heard_bytes(struct adv_keeper *k)
{
	char *end;
	while (k->connection >= 0 && (end = memchr(k->line, '\n', k->line_size)) != NULL) {
		size_t used = (size_t)(end - k->line) + 1;
		*end = '\0';
		heard_line(k, k->line);
		k->line_size -= used;
		memmove(k->line, k->line + used, k->line_size);
	}
	if (k->connection >= 0 && k->line_size == sizeof(k->line))
		hang_up(k, ADV_PROTOCOL);
}

static void hear(struct adv_keeper *k)
{
	/* Descriptors that come here are for nobody: without room for them the kernel closes them. */
	ssize_t n = recv(k->connection, k->line + k->line_size, sizeof(k->line) - k->line_size,
			 MSG_DONTWAIT);
	if (n > 0) {
		k->line_size += (size_t)n;
		heard_bytes(k);
		return;
	}
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	k->unattended = !is_over(k);
	k->look_ns = adv_clock_monotonic_ns();
	hang_up(k, ADV_NODE_GONE);
}

/* ---- what it says to the node ---- */

static bool say(struct adv_keeper *k, const char *line)
{
	size_t size = strlen(line);
	ssize_t n = send(k->connection, line, size, MSG_DONTWAIT | MSG_NOSIGNAL);
	/* Half a line is no line: a node that leaves so much unread does not answer either. */
	return n == (ssize_t)size;
}

static void ask_renewal(struct adv_keeper *k)
{
	k->renewal_ns = adv_clock_boottime_ns();
	k->renewing = true;
	/* When it does not get through: the end of the connection or of the lease says what happened. */
	(void)say(k, "renew 0\n");
}

/* ---- its own clock ---- */

static uint64_t renewal_due(const struct adv_keeper *k)
{
	if (!k->renew || k->renewing || k->release_ns != 0)
		return UINT64_MAX;
	return adv_clock_add(k->asked_ns, k->ttl_ns / 2);
}

/* The node's word on the end of a lease comes soon after it, or the node does not work. */
static uint64_t expiry_due(const struct adv_keeper *k)
{
	if (is_over(k))
		return UINT64_MAX;
	if (state_now(k) == ADV_EXPIRED)
		return adv_clock_add(k->expires_ns, ADV_CLIENT_EXPIRED_LINGER_MS * ADV_MS);
	return state_now(k) == ADV_OK ? k->expires_ns : UINT64_MAX;
}

static void look_at_lease_clock(struct adv_keeper *k)
{
	uint64_t now = adv_clock_boottime_ns();
	if (now >= expiry_due(k)) {
		if (state_now(k) == ADV_OK)
			tell_state(k, ADV_EXPIRED);
		else
			tell_over(k, ADV_EXPIRED);
	}
	if (k->connection >= 0 && now >= renewal_due(k))
		ask_renewal(k);
}

/* Is another run of the node there in place of the one that granted the lease? */
static void look_for_node(struct adv_keeper *k)
{
	struct adv_node_run now;
	enum adv_status status =
		adv_client_node_run(&k->address, adv_client_deadline(LOOK_MS), &now);
	k->looks++;
	if (status == ADV_OK && !adv_client_node_run_same(&now, &k->run))
		tell_over(k, ADV_NODE_RESTARTED);
	if (status == ADV_OK || k->looks == LOOKS_MAX)
		k->unattended = false;
	k->look_ns = adv_clock_add(adv_clock_monotonic_ns(), FIRST_LOOK_NS << (2 * (k->looks - 1)));
}

static void look_at_waiting_clock(struct adv_keeper *k)
{
	uint64_t now = adv_clock_monotonic_ns();
	if (now >= atomic_load_explicit(&k->alarm_ns, memory_order_seq_cst)) {
		atomic_store_explicit(&k->alarm_ns, UINT64_MAX, memory_order_seq_cst);
		poke(k->event);
	}
	if (k->unattended && now >= k->look_ns)
		look_for_node(k);
}

static uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* How long it may sleep. */
static uint64_t plan(struct adv_keeper *k)
{
	uint64_t boot = adv_clock_boottime_ns(), now = adv_clock_monotonic_ns();
	uint64_t lease = expiry_due(k);
	if (k->connection >= 0)
		lease = min_u64(lease, renewal_due(k));
	uint64_t left = lease == UINT64_MAX ? UINT64_MAX : lease > boot ? lease - boot : 0;
	uint64_t until = adv_clock_add(now, left);
	if (k->unattended)
		until = min_u64(until, k->look_ns);
	if (k->release_ns != 0)
		until = min_u64(until, k->release_ns);
	/* Pairs with adv_keeper_alarm(): one of the two sees the other's store. */
	atomic_store_explicit(&k->planned_ns, until, memory_order_seq_cst);
	until = min_u64(until, atomic_load_explicit(&k->alarm_ns, memory_order_seq_cst));
	atomic_store_explicit(&k->planned_ns, until, memory_order_seq_cst);
	return until == UINT64_MAX ? UINT64_MAX : until > now ? until - now : 0;
}

/* ---- the thread ---- */

static void sleep_for(struct adv_keeper *k, uint64_t ns)
{
	struct pollfd p[2] = {{.fd = k->wake, .events = POLLIN},
			      {.fd = k->connection, .events = POLLIN}};
	struct timespec t = {.tv_sec = (time_t)(ns / ADV_SEC), .tv_nsec = (long)(ns % ADV_SEC)};
	int n = ppoll(p, 2, ns == UINT64_MAX ? NULL : &t, NULL);
	if (n > 0 && p[0].revents != 0)
		drain(k->wake);
	if (n > 0 && k->connection >= 0 && p[1].revents != 0)
		hear(k);
}

/* True: the thread may end. */
static bool stopping(struct adv_keeper *k)
{
	if (!atomic_load_explicit(&k->stop, memory_order_acquire))
		return false;
	if (k->connection < 0)
		return true;
	if (k->release_ns == 0) {
		k->release_ns =
			adv_clock_add(adv_clock_monotonic_ns(), ADV_CLIENT_CLOSE_MS * ADV_MS);
		if (!say(k, "release\n"))
			return true; /* closing the connection says it too */
	}
	return adv_clock_monotonic_ns() >= k->release_ns;
}

/*
 * False: there is nothing to keep after all. Nobody wakes this thread when the lease is there: the caller has better to do then,
 * and so has a machine on which a worker is just starting.
 */
static bool await_start(struct adv_keeper *k)
{
	struct pollfd p = {.fd = k->wake, .events = POLLIN};
	/* Acquire: pairs with the release store in adv_keeper_start(). */
	while (!atomic_load_explicit(&k->ready, memory_order_acquire)) {
		if (atomic_load_explicit(&k->stop, memory_order_acquire))
			return false;
		poll(&p, 1, START_LOOK_MS);
		drain(k->wake);
	}
	return true;
}

static void *keep(void *arg)
{
	struct adv_keeper *k = arg;
	if (!await_start(k))
		return NULL;
	if (k->slots_size <= POPULATE_BYTES_MAX)
		(void)madvise(k->slots, k->slots_size, MADV_POPULATE_WRITE);
	heard_bytes(k);
	while (!stopping(k)) {
		sleep_for(k, plan(k));
		look_at_lease_clock(k);
		look_at_waiting_clock(k);
	}
	return NULL;
}

static enum adv_status thread_start(struct adv_keeper *k)
{
	pthread_attr_t attr;
	sigset_t all, before;
	int rc = pthread_attr_init(&attr);
	if (rc == 0) {
		sigfillset(&all);
		/* The new thread inherits the mask: a program's signals are for its own threads. */
		pthread_sigmask(SIG_SETMASK, &all, &before);
		rc = pthread_attr_setstacksize(&attr, STACK_BYTES);
		if (rc == 0)
			rc = pthread_create(&k->thread, &attr, keep, k);
		pthread_sigmask(SIG_SETMASK, &before, NULL);
		pthread_attr_destroy(&attr);
	}
	if (rc != 0)
		return adv_client_fail(rc == ENOMEM || rc == EAGAIN ? ADV_NO_MEMORY : ADV_SYSTEM,
				       "no thread to keep the lease: %s", strerror(rc));
	return ADV_OK;
}

void adv_keeper_init(struct adv_keeper *k)
{
	memset(k, 0, sizeof(*k));
	k->connection = k->wake = k->event = -1;
	atomic_store(&k->alarm_ns, UINT64_MAX);
	atomic_store(&k->planned_ns, UINT64_MAX); /* an alarm that comes early wakes the thread */
}

enum adv_status adv_keeper_prepare(struct adv_keeper *k)
{
	if (k->prepared)
		return ADV_OK;
	k->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (k->wake < 0)
		return adv_client_fail(ADV_SYSTEM, "no eventfd to keep the lease: %s",
				       strerror(errno));
	enum adv_status status = thread_start(k);
	if (status != ADV_OK)
		adv_fd_close(&k->wake);
	k->prepared = status == ADV_OK;
	return status;
}

enum adv_status adv_keeper_start(struct adv_keeper *k, const struct adv_keeper_options *o)
{
	enum adv_status status = adv_keeper_prepare(k);
	if (status != ADV_OK)
		return status;
	k->event = o->event;
	k->slots = o->slots;
	k->slots_size = o->slots_size;
	k->connection = o->connection;
	k->renew = o->renew;
	k->ttl_ns = o->ttl_ms * ADV_MS;
	k->asked_ns = o->asked_ns;
	k->expires_ns = adv_clock_add(k->asked_ns, k->ttl_ns);
	k->run = *o->run;
	memcpy(k->line, o->rest, o->rest_size);
	k->line_size = o->rest_size;
	k->address = *o->address;
	atomic_store_explicit(&k->ready, true, memory_order_release);
	return ADV_OK;
}

void adv_keeper_stop(struct adv_keeper *k)
{
	if (!k->prepared)
		return;
	atomic_store_explicit(&k->stop, true, memory_order_release);
	poke(k->wake);
	pthread_join(k->thread, NULL);
	k->prepared = false;
	adv_keeper_forget(k);
}

void adv_keeper_lost(struct adv_keeper *k, enum adv_status status)
{
	atomic_store_explicit(&k->state, (uint32_t)status, memory_order_release);
	atomic_store_explicit(&k->lost, (uint32_t)status, memory_order_release);
}

void adv_keeper_forget(struct adv_keeper *k)
{
	adv_fd_close(&k->connection);
	adv_fd_close(&k->wake);
}

void adv_keeper_alarm(struct adv_keeper *k, uint64_t alarm_ns)
{
	/* Pairs with plan(). */
	atomic_store_explicit(&k->alarm_ns, alarm_ns, memory_order_seq_cst);
	if (alarm_ns < atomic_load_explicit(&k->planned_ns, memory_order_seq_cst))
		poke(k->wake);
}
