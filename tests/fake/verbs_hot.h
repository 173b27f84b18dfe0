/*
 * verbs_hot.h - hot calls over verbs in one thread, on the fake device: the client's half, a worker's loop, the poller's loop. For counting.
 *
 * poller.c is part of whatever includes this, without its thread: a pass of its loop is one step. Each step is a function of its own
 * name, never inlined, so that a profile says whose instructions are whose; so is the worker's function, which is nobody's.
 */
#ifndef ADVERB_TESTS_VERBS_HOT_H
#define ADVERB_TESTS_VERBS_HOT_H

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "seal.h"
#include "verbs_rig.h"

static int hot_no_thread(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *),
			 void *arg)
{
	(void)thread, (void)attr, (void)run, (void)arg;
	return 0;
}

#define pthread_create		    hot_no_thread
#define pthread_join(thread, to)    (void)(thread)
#define pthread_setname_np(t, name) (void)(t)
#include "poller/poller.c"
#undef pthread_create
#undef pthread_join
#undef pthread_setname_np

#define HOT_SIZE_MAX ADV_PAGE

struct hot_options {
	uint32_t size;	/* of input and output */
	bool hand_over; /* neither device places in order */
	/*
	 * The worker is faster than its poller: one pass hears of the call and carries its completion. Else the poller hears of it in one
	 * pass and carries in another, as it must where entries are handed over.
	 */
	bool one_pass;
};

struct hot {
	struct hot_options options;
	struct rig rig;
	struct adv_poller *poller;
	uint8_t in[HOT_SIZE_MAX], out[HOT_SIZE_MAX];
};

static void hot_make(struct hot *h, const struct hot_options *options)
{
	const struct adv_poller_options p = {.cpu = -1};
	struct rig_options o = RIG_DEFAULTS;
	o.tsc = true;
	o.device.in_order = !options->hand_over;
	o.landing = options->hand_over;
	memset(h, 0, sizeof(*h));
	h->options = *options;
	if (options->hand_over)
		h->options.one_pass = false;
	rig_make(&h->rig, &o);
	if (adv_poller_create(&p, &h->poller) < 0)
		abort();
	struct adv_poller_message add = {.order = ADV_POLLER_ADD,
					 .link = &h->rig.poll,
					 .relay = &h->rig.relay,
					 .event_fd = h->rig.event_fd};
	adv_poller_send(h->poller, &add);
	obey_all(h->poller);
	adv_poller_collect(h->poller);
}

static void hot_unmake(struct hot *h)
{
	adv_poller_destroy(h->poller);
	rig_unmake(&h->rig);
}

/* ---- a call's steps ---- */

#define HOT_STEP __attribute__((noinline))

HOT_STEP static void hot_client_submit(struct hot *h)
{
	const struct adv_request request = {.size = sizeof(request),
					    .in = h->in,
					    .in_size = h->options.size,
					    .out = h->out,
					    .out_capacity = HOT_SIZE_MAX,
					    .worker = ADV_ANY_WORKER};
	if (adv_submit(h->rig.lease, &request, NULL) != ADV_OK)
		abort();
}

HOT_STEP static void hot_client_take(struct hot *h)
{
	struct adv_completion c;
	if (adv_poll(h->rig.lease, &c, 1) != 1 || c.status != ADV_OK ||
	    c.out_size != h->options.size)
		abort();
}

HOT_STEP static void hot_function(const struct adv_work *work)
{
	memcpy(work->out, work->in, work->length);
}

/* As the loop in sandbox/worker.c. */
HOT_STEP static void hot_worker(struct hot *h)
{
	struct adv_worker_lane *w = &h->rig.workers[0];
	struct adv_work work;
	adv_worker_next(w, &work);
	hot_function(&work);
	adv_worker_complete(w, &work, ADV_OK, work.length);
}

/* As run() in src/poller/poller.c, where there is something to do. */
HOT_STEP static void hot_poller(struct hot *h)
{
	struct adv_poller *p = h->poller;
	unsigned n = serve_all(p);
	if (adv_mailbox_any(&p->in))
		n += obey_all(p);
	if (n == 0)
		abort();
	p->worked = true;
	add(&p->passes, 1);
}

/* Input and output are looked at by nobody here: the steps alone are counted. */
static void hot_call(struct hot *h)
{
	h->in[0]++;
	hot_client_submit(h);
	if (!h->options.one_pass)
		hot_poller(h);
	hot_worker(h);
	hot_poller(h);
	hot_client_take(h);
}

static void hot_calls(struct hot *h, uint64_t nr)
{
	for (uint64_t i = 0; i < nr; i++)
		hot_call(h);
}

/* ---- what they take ---- */

/* In all of the calls that were counted. */
struct hot_counts {
	uint64_t calls;
	struct fake_counts client, node;
	struct seal_counts sealed;
	bool seccomp; /* system calls were counted */
	bool echoed;  /* what came back last is what was sent */
};

static struct fake_counts hot_difference(struct fake_counts after, struct fake_counts before)
{
	return (struct fake_counts){.doorbells = after.doorbells - before.doorbells,
				    .requests = after.requests - before.requests,
				    .inlined = after.inlined - before.inlined,
				    .signalled = after.signalled - before.signalled,
				    .bytes = after.bytes - before.bytes,
				    .receive_doorbells =
					    after.receive_doorbells - before.receive_doorbells,
				    .receives = after.receives - before.receives,
				    .immediates = after.immediates - before.immediates,
				    .completions = after.completions - before.completions,
				    .waited = after.waited - before.waited};
}

/* `sealed`: for ever, the process cannot make system calls afterwards, but end. */
static void hot_count(struct hot *h, uint64_t nr, bool sealed, struct hot_counts *counts)
{
	struct fake_counts client = fake_counts(rig_client_qp(&h->rig));
	struct fake_counts node = fake_counts(rig_node_qp(&h->rig));
	counts->seccomp = sealed && seal_system_calls();
	seal_begin();
	hot_calls(h, nr);
	counts->sealed = seal_end();
	counts->calls = nr;
	counts->client = hot_difference(fake_counts(rig_client_qp(&h->rig)), client);
	counts->node = hot_difference(fake_counts(rig_node_qp(&h->rig)), node);
	counts->echoed = memcmp(h->in, h->out, h->options.size) == 0;
}

#endif
