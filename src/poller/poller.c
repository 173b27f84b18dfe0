/* poller.c - the poller's thread: its loop, its sleep, its messages. */
#include "poller/poller.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "util/clock.h"
#include "util/fd.h"
#include "util/limits.h"

#define PASSES_PER_LOOK 64 /* at the clock, while there is nothing to do */
#define EVENTS_AT_ONCE	16
#define ACKNOWLEDGE_AT	64 /* a channel's events: acknowledging takes a lock */

/*
 * On a core that is shared a poller does not spin, but after some work it gives way for a while before it blocks: the worker runs, publishes
 * and gives way in turn, which is two switches; to block and be woken takes an event, its system calls and those of arming. Not beside
 * a worker whose calls take long: whoever gave way to it may wait for the end of its time slice.
 */
#define YIELD_NS (200 * ADV_US)
#define BRIEF_NS (20 * ADV_US)

struct adv_poller {
	/* the thread's own */
	struct adv_poller_link *first;
	uint64_t window_ns; /* spins so long after the last work: the longest of its leases' */
	uint64_t idle_since_ns;
	uint64_t nr_idle; /* passes without work */
	bool worked;	  /* since the clock was looked at */
	bool pinged;	  /* another ping is about to come: waits for it, on a shared core too */
	bool stop;
	int epoll_fd;
	/* shared */
	struct adv_mailbox in __attribute__((aligned(ADV_CACHE_LINE)));
	_Atomic bool asleep; /* a sender writes wake_fd then */
	struct adv_mailbox out __attribute__((aligned(ADV_CACHE_LINE)));
	_Atomic uint64_t passes, sleeps, polled_ns;
	_Atomic uint32_t nr_links;
	/* set once */
	int wake_fd, out_fd;
	struct adv_poller_options options;
	pthread_t thread;
};

static void poke(int fd)
{
	uint64_t one = 1;
	ssize_t ignored = write(fd, &one, sizeof(one));
	(void)ignored;
}

static void drain(int fd)
{
	uint64_t count;
	ssize_t ignored = read(fd, &count, sizeof(count));
	(void)ignored;
}

/* One writer: a plain load and store. */
static void add(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n,
			      memory_order_relaxed);
}

static void send_back(struct adv_poller *p, struct adv_poller_message *m)
{
	if (adv_mailbox_put(&p->out, &m->mail))
		poke(p->out_fd);
}

/* ---- what the control thread says ---- */

static void plan_window(struct adv_poller *p)
{
	p->window_ns = 0;
	for (const struct adv_poller_link *l = p->first; l != NULL; l = l->next)
		if (l->relay != NULL && l->relay->options.hot_ns > p->window_ns)
			p->window_ns = l->relay->options.hot_ns;
	if (p->options.shared && p->window_ns > YIELD_NS)
		p->window_ns = YIELD_NS;
	p->worked = true;
}

static void listen_to(const struct adv_poller *p, int fd, void *what)
{
	struct epoll_event e = {.events = EPOLLIN, .data.ptr = what};
	/* It can only fail for want of memory: a poller that shares its core would then miss wake-ups. It looks again each second. */
	(void)epoll_ctl(p->epoll_fd, EPOLL_CTL_ADD, fd, &e);
}

static void attach(struct adv_poller *p, struct adv_poller_link *l,
		   const struct adv_poller_message *m)
{
	l->relay = m->relay;
	l->event_fd = m->event_fd;
	if (l->relay != NULL)
		listen_to(p, l->event_fd, &l->event_fd);
	plan_window(p);
}

static void add_link(struct adv_poller *p, const struct adv_poller_message *m)
{
	struct adv_poller_link *l = m->link;
	l->previous = NULL;
	l->next = p->first;
	if (p->first != NULL)
		p->first->previous = l;
	p->first = l;
	listen_to(p, l->channel->fd, &l->channel);
	atomic_fetch_add_explicit(&p->nr_links, 1, memory_order_relaxed);
	attach(p, l, m);
}

static void acknowledge(struct adv_poller_link *l)
{
	if (l->nr_events > 0)
		ibv_ack_cq_events(l->link.cq, l->nr_events);
	l->nr_events = 0;
}

static void forget_relay(struct adv_poller *p, struct adv_poller_link *l)
{
	if (l->relay != NULL)
		epoll_ctl(p->epoll_fd, EPOLL_CTL_DEL, l->event_fd, NULL);
	l->relay = NULL;
	l->event_fd = -1;
	plan_window(p);
}

static void remove_link(struct adv_poller *p, struct adv_poller_link *l)
{
	forget_relay(p, l);
	epoll_ctl(p->epoll_fd, EPOLL_CTL_DEL, l->channel->fd, NULL);
	/* A queue that has events to be acknowledged cannot be destroyed. */
	acknowledge(l);
	if (l->previous != NULL)
		l->previous->next = l->next;
	else
		p->first = l->next;
	if (l->next != NULL)
		l->next->previous = l->previous;
	atomic_fetch_sub_explicit(&p->nr_links, 1, memory_order_relaxed);
}

/* Unless it is clean, the link must not be touched after that. */
static void end_detach(struct adv_poller *p, struct adv_poller_link *l, bool clean)
{
	struct adv_poller_message *m = l->detach;
	l->detach = NULL;
	m->clean = clean;
	if (clean)
		forget_relay(p, l);
	else
		remove_link(p, l);
	send_back(p, m);
}

static void give_up(struct adv_poller *p, struct adv_poller_link *l)
{
	if (l->detach != NULL)
		end_detach(p, l, false);
}

/* What comes back at once. */
static void obey(struct adv_poller *p, struct adv_poller_message *m)
{
	switch (m->order) {
	case ADV_POLLER_ADD:
		add_link(p, m);
		break;
	case ADV_POLLER_ATTACH:
		attach(p, m->link, m);
		break;
	case ADV_POLLER_LINE:
		if (m->link->relay != NULL)
			adv_relay_line_changed(m->link->relay, m->lane);
		break;
	case ADV_POLLER_GIVE_UP:
		give_up(p, m->link);
		break;
	case ADV_POLLER_REMOVE:
		remove_link(p, m->link);
		break;
	case ADV_POLLER_DETACH:
		/* It carries no lease: there is nothing to wait for. */
		m->clean = !adv_link_broken(&m->link->link);
		if (!m->clean)
			remove_link(p, m->link);
		break;
	case ADV_POLLER_BROKEN:
		break;
	case ADV_POLLER_STOP:
		p->stop = true;
		break;
	}
	send_back(p, m);
}

static unsigned obey_all(struct adv_poller *p)
{
	unsigned n = 0;
	struct adv_mail *mail = adv_mailbox_take(&p->in);
	while (mail != NULL) {
		struct adv_poller_message *m = (struct adv_poller_message *)mail;
		mail = mail->next; /* the message may be gone once it is sent back */
		n++;
		if (m->order == ADV_POLLER_DETACH && m->link->relay != NULL) {
			m->link->detach = m;
			m->link->relay->ending = true;
		} else {
			m->clean = false;
			obey(p, m);
		}
	}
	return n;
}

/* ---- one link ---- */

/* Everything sent is complete: no memory of the lease is read any more. An empty write asks where nothing else did. */
static bool is_drained(struct adv_poller_link *l)
{
	struct adv_post post;
	if (l->relay->nr_dirty > 0)
		return false;
	if (l->link.nr_unsignalled > 0) {
		adv_post_begin(&post);
		adv_post_write(&post, &l->link, NULL, 0, 0, 0, l->relay->options.mirror_rkey);
		(void)adv_link_post(&l->link, &post, true);
	}
	return adv_link_idle(&l->link);
}

/* A bare ping-pong, to measure calls against. */
static unsigned answer_pings(struct adv_poller *p, struct adv_poller_link *l,
			     const uint32_t *immediates, unsigned nr_immediates)
{
	for (unsigned i = 0; i < nr_immediates; i++)
		adv_pong_hear(l->pong, immediates[i]);
	if (nr_immediates > 0)
		p->pinged = l->pong->spinning;
	return adv_pong_answer(l->pong, &l->link);
}

static unsigned serve(struct adv_poller *p, struct adv_poller_link *l)
{
	uint32_t immediates[ADV_LINK_POLL_MAX];
	unsigned nr_immediates;
	/* What has come, at most one batch: the other links wait no longer than that. */
	unsigned n = adv_link_poll(&l->link, immediates, &nr_immediates);
	/* Calls wake workers that sleep; a client that wants to sleep is answered. */
	for (unsigned i = 0; i < nr_immediates && l->relay != NULL; i++)
		adv_relay_hear(l->relay, immediates[i]);
	/* What workers have published leaves, and what the control thread has to say. */
	if (l->relay != NULL)
		n += adv_relay_carry(l->relay);
	if (l->pong != NULL)
		n += answer_pings(p, l, immediates, nr_immediates);
	/* Receives that were consumed are posted again: many at once, or when there is nothing else to do. */
	(void)adv_link_replenish(&l->link, n == 0);
	/* A lease that ends has sent its last, and heard its last. */
	if (l->detach != NULL && !adv_link_broken(&l->link) && is_drained(l) && l->relay->quiet)
		end_detach(p, l, true);
	/* A link that is broken says so once, and carries nothing from then on. */
	if (adv_link_broken(&l->link)) {
		if (l->broken != NULL)
			send_back(p, l->broken);
		l->broken = NULL;
		if (l->detach != NULL)
			end_detach(p, l, false);
	}
	return n;
}

static unsigned serve_all(struct adv_poller *p)
{
	unsigned n = 0;
	for (struct adv_poller_link *l = p->first, *next; l != NULL; l = next) {
		next = l->next; /* serving may forget it */
		n += serve(p, l);
	}
	return n;
}

/* ---- sleeping ---- */

static void wake_relays(struct adv_poller *p)
{
	for (struct adv_poller_link *l = p->first; l != NULL; l = l->next)
		if (l->relay != NULL)
			adv_relay_awake(l->relay);
}

/* Everyone who could have news is told to raise an event; then one more look at everything. False: there is something. */
static bool fall_asleep(struct adv_poller *p)
{
	for (struct adv_poller_link *l = p->first; l != NULL; l = l->next) {
		if (l->relay != NULL && !adv_relay_sleep(l->relay))
			return false;
		(void)adv_link_notify(&l->link);
	}
	atomic_store_explicit(&p->asleep, true, memory_order_seq_cst);
	/* Pairs with the exchange in adv_mailbox_put() and the look at `asleep` behind it. */
	if (adv_mailbox_any(&p->in))
		return false;
	return serve_all(p) == 0;
}

static void take_event(struct adv_poller *p, void *what)
{
	if (what == &p->wake_fd) {
		drain(p->wake_fd);
		return;
	}
	for (struct adv_poller_link *l = p->first; l != NULL; l = l->next) {
		struct ibv_cq *cq;
		void *context;
		if (what == &l->event_fd)
			drain(l->event_fd);
		if (what != &l->channel)
			continue;
		while (ibv_get_cq_event(l->channel, &cq, &context) == 0)
			l->nr_events++;
		l->link.notify = false;
		if (l->nr_events >= ACKNOWLEDGE_AT)
			acknowledge(l);
	}
}

static void sleep_once(struct adv_poller *p)
{
	struct epoll_event events[EVENTS_AT_ONCE];
	if (fall_asleep(p)) {
		add(&p->sleeps, 1);
		int n = epoll_wait(p->epoll_fd, events, EVENTS_AT_ONCE, 1000);
		for (int i = 0; i < n; i++)
			take_event(p, events[i].data.ptr);
	}
	atomic_store_explicit(&p->asleep, false, memory_order_relaxed);
	wake_relays(p);
	p->idle_since_ns = adv_clock_monotonic_ns();
	p->worked = false;
	p->pinged = false;
}

/* A worker is at work that may share this core, and was not brief the last time. */
static bool beside_long_calls(const struct adv_poller *p)
{
	for (const struct adv_poller_link *l = p->first; l != NULL; l = l->next)
		if (l->relay != NULL && l->relay->nr_active > 0 && l->relay->last_ns > BRIEF_NS)
			return true;
	return false;
}

/* True: the hot window is over. The clock is read once in a while. */
static bool is_idle(struct adv_poller *p)
{
	uint64_t window_ns = p->window_ns;
	if (p->pinged && window_ns < ADV_PINGPONG_SPIN_MS * ADV_MS)
		window_ns = ADV_PINGPONG_SPIN_MS * ADV_MS;
	if (window_ns == 0)
		return true;
	if (p->options.shared && !p->pinged) {
		if (beside_long_calls(p))
			return true;
		sched_yield();
	} else {
		adv_pause();
		if (++p->nr_idle % PASSES_PER_LOOK != 0)
			return false;
	}
	uint64_t now = adv_clock_monotonic_ns();
	if (p->worked) {
		p->worked = false;
		p->idle_since_ns = now;
	}
	return now - p->idle_since_ns >= window_ns;
}

/* ---- the thread ---- */

static void *run(void *arg)
{
	struct adv_poller *p = arg;
	while (!p->stop) {
		unsigned n = serve_all(p);
		if (adv_mailbox_any(&p->in))
			n += obey_all(p);
		if (n > 0)
			p->worked = true;
		else if (is_idle(p))
			sleep_once(p);
		add(&p->passes, 1);
	}
	return NULL;
}

static int start_thread(struct adv_poller *p)
{
	pthread_attr_t attr;
	cpu_set_t cpus;
	sigset_t all, before;
	int rc = pthread_attr_init(&attr);
	if (rc != 0)
		return -rc;
	if (p->options.cpu >= 0) {
		CPU_ZERO(&cpus);
		CPU_SET((unsigned)p->options.cpu, &cpus);
		rc = pthread_attr_setaffinity_np(&attr, sizeof(cpus), &cpus);
	}
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	if (rc == 0)
		rc = pthread_create(&p->thread, &attr, run, p);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	if (rc == 0)
		pthread_setname_np(p->thread, "adverb-poller");
	return -rc;
}

static void poller_free(struct adv_poller *p)
{
	adv_fd_close(&p->epoll_fd);
	adv_fd_close(&p->wake_fd);
	adv_fd_close(&p->out_fd);
	free(p);
}

int adv_poller_create(const struct adv_poller_options *options, struct adv_poller **out)
{
	struct adv_poller *p =
		aligned_alloc(ADV_CACHE_LINE,
			      (sizeof(*p) + ADV_CACHE_LINE - 1) / ADV_CACHE_LINE * ADV_CACHE_LINE);
	if (p == NULL)
		return -ENOMEM;
	memset(p, 0, sizeof(*p));
	p->options = *options;
	p->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	p->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	p->out_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int rc = p->epoll_fd < 0 || p->wake_fd < 0 || p->out_fd < 0 ? -errno : 0;
	if (rc == 0) {
		listen_to(p, p->wake_fd, &p->wake_fd);
		rc = start_thread(p);
	}
	if (rc < 0) {
		poller_free(p);
		return rc;
	}
	*out = p;
	return 0;
}

void adv_poller_send(struct adv_poller *p, struct adv_poller_message *m)
{
	adv_mailbox_put(&p->in, &m->mail);
	/* Pairs with the store of `asleep` and the look into the box behind it. */
	if (atomic_load_explicit(&p->asleep, memory_order_seq_cst))
		poke(p->wake_fd);
}

void adv_poller_destroy(struct adv_poller *p)
{
	struct adv_poller_message stop = {.order = ADV_POLLER_STOP};
	if (p == NULL)
		return;
	adv_poller_send(p, &stop);
	pthread_join(p->thread, NULL);
	/* Whoever destroys these links' queues waits for that. */
	for (struct adv_poller_link *l = p->first; l != NULL; l = l->next)
		acknowledge(l);
	poller_free(p);
}

int adv_poller_fd(const struct adv_poller *p)
{
	return p->out_fd;
}

void adv_poller_collect(struct adv_poller *p)
{
	drain(p->out_fd);
	struct adv_mail *mail = adv_mailbox_take(&p->out);
	while (mail != NULL) {
		struct adv_poller_message *m = (struct adv_poller_message *)mail;
		mail = mail->next;
		if (m->done != NULL)
			m->done(m);
	}
}

void adv_poller_stats(const struct adv_poller *p, struct adv_poller_stats *stats)
{
	*stats = (struct adv_poller_stats){
		.passes = atomic_load_explicit(&p->passes, memory_order_relaxed),
		.sleeps = atomic_load_explicit(&p->sleeps, memory_order_relaxed),
		.cpu = p->options.cpu,
		.shared = p->options.shared,
		.nr_links = atomic_load_explicit(&p->nr_links, memory_order_relaxed),
	};
}
