/* pingpong.c - a bare ping-pong between two CPUs, to measure against. The caller's thread, and a child process. */
#include "lane/pingpong.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lane/lane_worker.h"
#include "util/clock.h"
#include "util/futex.h"

#define INLINE_BYTES 32
#define WARM_UP	     32
#define NR_PAIRS     16

enum command {
	PING,
	PING_AND_SLEEP, /* answer, then wait for the next on the futex */
	PAUSE,		/* answer, then sleep until the next block */
	QUIT,
};

struct line {
	uint8_t payload[INLINE_BYTES];
	uint32_t length;
	uint32_t command;
	uint8_t unused[20];
	_Atomic uint32_t seq;
} __attribute__((aligned(64)));

static_assert(sizeof(struct line) == 64, "one cache line");

/* Adjacent lines are fetched in pairs: each has a pair to itself. */
struct pair {
	struct line ping;
	uint8_t pad1[64];
	struct line pong;
	uint8_t pad2[64];
};

struct shared {
	struct pair pairs[NR_PAIRS];
};

struct adv_pingpong {
	struct shared *shared;
	uint8_t *to, *from; /* payloads there and back, shared */
	uint8_t *private_to, *private_from;
	uint32_t max_payload;
	size_t map_size;
	pid_t child;
	uint32_t seq;
	struct adv_ticks ticks;
};

/* ---- the child ---- */

/* Waits for ping number `seq`: on the futex, or spinning. */
static void await(const struct line *ping, uint32_t seq, bool sleeping)
{
	uint32_t now;
	while ((now = atomic_load_explicit(&ping->seq, memory_order_acquire)) != seq) {
		if (sleeping)
			adv_futex_wait(&ping->seq, now, NULL);
		else
			adv_pause();
	}
}

static void answer(struct adv_pingpong *p, struct pair *pair)
{
	const struct line *ping = &pair->ping;
	struct line *pong = &pair->pong;
	if (ping->length <= INLINE_BYTES)
		memcpy(pong->payload, ping->payload, INLINE_BYTES);
	else
		memcpy(p->from, p->to, ping->length);
}

static void child_main(struct adv_pingpong *p)
{
	bool sleeping = true;
	for (uint32_t seq = 1;; seq++) {
		struct pair *pair = &p->shared->pairs[seq % NR_PAIRS];
		await(&pair->ping, seq, sleeping);
		uint32_t command = pair->ping.command;
		answer(p, pair);
		atomic_store_explicit(&pair->pong.seq, seq, memory_order_release);
		if (command == QUIT)
			_exit(0);
		sleeping = command != PING;
	}
}

/* ---- the parent ---- */

static int send_ping(struct adv_pingpong *p, enum command command, const void *data,
		     uint32_t length, bool wake)
{
	uint32_t seq = ++p->seq;
	struct pair *pair = &p->shared->pairs[seq % NR_PAIRS];
	struct line *ping = &pair->ping;
	if (length <= INLINE_BYTES)
		memcpy(ping->payload, data, INLINE_BYTES);
	else
		memcpy(p->to, data, length);
	ping->length = length;
	ping->command = command;
	atomic_store_explicit(&ping->seq, seq, memory_order_release);
	if (wake)
		adv_futex_wake(&ping->seq);
	for (uint64_t spins = 0; atomic_load_explicit(&pair->pong.seq, memory_order_acquire) != seq;
	     spins++) {
		adv_pause();
		if ((spins & 0xfffff) == 0xfffff && waitpid(p->child, NULL, WNOHANG) != 0)
			return -ETIMEDOUT;
	}
	if (length <= INLINE_BYTES)
		memcpy(p->private_from, pair->pong.payload, INLINE_BYTES);
	else
		memcpy(p->private_from, p->from, length);
	return 0;
}

static void spin_for(const struct adv_ticks *t, uint64_t ns)
{
	uint64_t start = adv_ticks_now(t);
	while (adv_ticks_ns(t, adv_ticks_now(t) - start) < ns)
		adv_pause();
}

int adv_pingpong_block(struct adv_pingpong *p, bool warm, uint32_t payload, uint64_t duration_ns,
		       uint64_t count, uint64_t gap_ns, void (*sample)(void *user, uint64_t ns),
		       void *user)
{
	if (payload > p->max_payload)
		return -EINVAL;
	enum command command = warm ? PING_AND_SLEEP : PING;
	int rc = send_ping(p, command, p->private_to, payload, true);
	for (int i = 0; i < WARM_UP && rc == 0 && !warm; i++)
		rc = send_ping(p, command, p->private_to, payload, false);
	uint64_t start = adv_ticks_now(&p->ticks);
	for (uint64_t i = 0; i < count && rc == 0; i++) {
		if (gap_ns > 0)
			spin_for(&p->ticks, gap_ns);
		uint64_t t0 = adv_ticks_now(&p->ticks);
		rc = send_ping(p, command, p->private_to, payload, warm);
		uint64_t t1 = adv_ticks_now(&p->ticks);
		sample(user, adv_ticks_ns(&p->ticks, t1 - t0));
		if (adv_ticks_ns(&p->ticks, t1 - start) >= duration_ns)
			break;
	}
	return rc == 0 ? send_ping(p, PAUSE, p->private_to, INLINE_BYTES, warm) : rc;
}

static int map_memory(struct adv_pingpong *p, uint32_t max_payload)
{
	size_t area = ((size_t)max_payload + ADV_PAGE) / ADV_PAGE * ADV_PAGE;
	p->max_payload = max_payload;
	p->map_size = 2 * ADV_PAGE + 2 * area;
	void *map = mmap(NULL, p->map_size, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (map == MAP_FAILED)
		return -errno;
	p->shared = map;
	p->to = (uint8_t *)map + 2 * ADV_PAGE;
	p->from = p->to + area;
	p->private_to = calloc(2, area);
	p->private_from = p->private_to != NULL ? p->private_to + area : NULL;
	return p->private_to != NULL ? 0 : -ENOMEM;
}

static int pin(int cpu)
{
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return sched_setaffinity(0, sizeof(set), &set);
}

int adv_pingpong_start(int cpu, uint32_t max_payload, struct adv_pingpong **out)
{
	struct adv_pingpong *p = calloc(1, sizeof(*p));
	if (p == NULL)
		return -ENOMEM;
	p->child = -1;
	int rc = map_memory(p, max_payload);
	if (rc == 0) {
		adv_ticks_init(&p->ticks);
		pid_t parent = getpid();
		p->child = fork();
		if (p->child == 0) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			if (getppid() != parent || pin(cpu) < 0)
				_exit(1);
			child_main(p);
		}
		rc = p->child < 0 ? -errno : send_ping(p, PAUSE, p->private_to, INLINE_BYTES, true);
	}
	if (rc < 0) {
		adv_pingpong_stop(p);
		return rc == -ETIMEDOUT ? -EINVAL : rc;
	}
	*out = p;
	return 0;
}

void adv_pingpong_stop(struct adv_pingpong *p)
{
	if (p == NULL)
		return;
	if (p->child > 0) {
		kill(p->child, SIGKILL);
		waitpid(p->child, NULL, 0);
	}
	if (p->shared != NULL)
		munmap(p->shared, p->map_size);
	free(p->private_to);
	free(p);
}
