/* verbs_pingpong.c - a bare ping-pong with the node of a lease, to measure against. The lease's thread; in a block nothing allocates or locks. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "client/pingpong.h"
#include "client/verbs.h"
#include "fabric/pingpong.h"
#include "lane/lane_worker.h"

#define LINK_RECEIVES  1024 /* as a lease's link */
#define LINK_SENDS     1024
#define PATIENCE_MS    5000	    /* for a pong */
#define WARM_UP	       32	    /* pings before those that count, */
#define WARM_UP_NS     (2 * ADV_MS) /* or as many as fit in this */
#define SPINS_PER_LOOK 65536	    /* at the clock, while nothing comes */

struct adv_verbs_pingpong {
	struct adv_verbs_link *link;
	struct adv_ping ping;
	uint8_t *pages; /* what is sent: terms and places; behind it what comes */
	struct ibv_mr *mr;
	uint64_t stamps[ADV_PINGPONG_DEPTH_MAX]; /* of those in flight */
	struct adv_ticks ticks;
};

/* ---- making one ---- */

static enum adv_status make_pages(struct adv_verbs_pingpong *p, struct ibv_pd *pd)
{
	char reason[ADV_REASON_MAX];
	void *at = mmap(NULL, 2 * ADV_PINGPONG_REGION, PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (at == MAP_FAILED)
		return adv_client_fail_text(ADV_NO_MEMORY, "no memory for a ping-pong");
	p->pages = at;
	p->mr = adv_memory_register(pd, at, 2 * ADV_PINGPONG_REGION, (uintptr_t)at,
				    IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE, reason,
				    sizeof(reason));
	return p->mr != NULL ? ADV_OK : adv_client_fail(ADV_SYSTEM, "%s", reason);
}

static enum adv_status connect_link(struct adv_verbs_pingpong *p, const struct adv_lease *l)
{
	struct adv_verbs_lease *v = l->verbs;
	const struct adv_verbs_connect c = {
		.hello = {.flags = ADV_HELLO_PINGPONG,
			  .counter = ++v->counter,
			  .lease = strtoull(l->id, NULL, 10)},
		.token = v->token,
		.token_size = sizeof(v->token),
		.send_depth = LINK_SENDS,
		.recv_depth = LINK_RECEIVES,
		.deadline_ns = adv_client_deadline(PATIENCE_MS),
	};
	enum adv_status status = adv_verbs_link_connect(v->node, &c, &p->link);
	if (status != ADV_OK)
		return status;
	if (p->link->region_bytes != ADV_PINGPONG_REGION)
		return adv_client_fail_text(
			ADV_VERSION, "the node does not know this ping-pong: it is of another "
				     "version than this program");
	p->ping = (struct adv_ping){.link = &p->link->link,
				    .rkey = p->link->region_rkey,
				    .from = p->pages,
				    .lkey = p->mr->lkey};
	return ADV_OK;
}

enum adv_status adv_verbs_pingpong_start(struct adv_lease *l, struct adv_verbs_pingpong **out)
{
	struct adv_verbs_pingpong *p = calloc(1, sizeof(*p));
	if (p == NULL)
		return adv_client_fail_text(ADV_NO_MEMORY, "no memory for a ping-pong");
	adv_ticks_init(&p->ticks);
	enum adv_status status = make_pages(p, l->verbs->node->pd);
	if (status == ADV_OK)
		status = connect_link(p, l);
	if (status != ADV_OK) {
		adv_verbs_pingpong_stop(p);
		return status;
	}
	*out = p;
	return ADV_OK;
}

void adv_verbs_pingpong_stop(struct adv_verbs_pingpong *p)
{
	if (p == NULL)
		return;
	/* Before the memory that it reaches. */
	if (p->link != NULL)
		adv_verbs_link_destroy(p->link);
	if (p->mr != NULL)
		ibv_dereg_mr(p->mr);
	if (p->pages != NULL)
		munmap(p->pages, 2 * ADV_PINGPONG_REGION);
	free(p);
}

/* ---- to and fro ---- */

static enum adv_status lost(const struct adv_verbs_pingpong *p)
{
	return adv_client_fail(ADV_LINK_LOST, "the ping-pong ended: %s",
			       adv_link_broken(&p->link->link) ? adv_link_why(&p->link->link)
							       : "the node does not answer");
}

/* How many pongs have come since; 0: none in all that time, or the link is broken. */
static unsigned await(struct adv_verbs_pingpong *p)
{
	struct adv_link *link = &p->link->link;
	uint32_t immediates[ADV_LINK_POLL_MAX];
	unsigned nr = 0;
	uint64_t deadline = adv_client_deadline(PATIENCE_MS);
	for (uint64_t spins = 1; nr == 0 && !adv_link_broken(link); spins++) {
		if (adv_link_poll(link, immediates, &nr) == 0)
			adv_pause();
		(void)adv_link_replenish(link, false);
		if (spins % SPINS_PER_LOOK == 0 && adv_client_left_ms(deadline) == 0)
			break;
	}
	return nr;
}

struct round {
	uint64_t duration_ns, count;
	void (*sample)(void *user, uint64_t ns); /* NULL: these do not count */
	void *user;
};

/* Sends the next when one of `inflight` is back, waiting `gap_ns` before, until the round is over; then takes those that are out. */
static enum adv_status run(struct adv_verbs_pingpong *p, const struct adv_verbs_pingpong_block *b,
			   const struct round *r, uint64_t *spent_ns)
{
	uint64_t start = adv_ticks_now(&p->ticks), now = start, sent = 0, back = 0;
	bool over = false;
	while (!over || back < sent) {
		while (!over && sent - back < b->inflight) {
			if (b->gap_ns > 0)
				for (uint64_t t = now; adv_ticks_ns(&p->ticks, now - t) < b->gap_ns;
				     now = adv_ticks_now(&p->ticks))
					adv_pause();
			p->stamps[sent % b->inflight] = adv_ticks_now(&p->ticks);
			if (adv_ping_send(&p->ping, false) < 0)
				break; /* no room: what comes back makes some */
			over = ++sent == r->count;
		}
		unsigned n = await(p);
		if (n == 0)
			return lost(p);
		now = adv_ticks_now(&p->ticks);
		for (unsigned i = 0; i < n; i++, back++)
			if (r->sample != NULL)
				r->sample(r->user,
					  adv_ticks_ns(&p->ticks,
						       now - p->stamps[back % b->inflight]));
		over |= adv_ticks_ns(&p->ticks, now - start) >= r->duration_ns;
	}
	*spent_ns = adv_ticks_ns(&p->ticks, now - start);
	return ADV_OK;
}

enum adv_status adv_verbs_pingpong_block(struct adv_verbs_pingpong *p,
					 const struct adv_verbs_pingpong_block *b,
					 uint64_t *spent_ns)
{
	const struct round warm_up = {.duration_ns = WARM_UP_NS,
				      .count = b->blocking ? 1 : WARM_UP};
	const struct round counted = {.duration_ns = b->duration_ns,
				      .count = b->count,
				      .sample = b->sample,
				      .user = b->user};
	uint64_t ignored;
	if (b->bytes > ADV_PINGPONG_BYTES_MAX || b->inflight == 0 ||
	    b->inflight > ADV_PINGPONG_DEPTH_MAX || b->count == 0)
		return adv_client_fail(ADV_INVALID,
				       "a ping-pong carries at most %llu KiB and keeps at most %d "
				       "in flight",
				       (unsigned long long)(ADV_PINGPONG_BYTES_MAX / ADV_KIB),
				       ADV_PINGPONG_DEPTH_MAX);
	const struct adv_ping_terms terms = {
		.mirror = (uintptr_t)p->pages + ADV_PINGPONG_REGION,
		.mirror_rkey = p->mr->rkey,
		.bytes = b->bytes,
		.places = adv_ping_places(b->bytes, b->inflight),
		.flags = b->blocking ? ADV_PING_BLOCKING : 0,
	};
	if (adv_ping_begin(&p->ping, &terms, p->pages) < 0)
		return lost(p);
	enum adv_status status = run(p, b, &warm_up, &ignored);
	if (status == ADV_OK)
		status = run(p, b, &counted, spent_ns);
	/* The node need not wait for more. */
	if (status == ADV_OK && (adv_ping_send(&p->ping, true) < 0 || await(p) == 0))
		status = lost(p);
	return status;
}
