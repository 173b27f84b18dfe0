/*
 * admission.c - a request for a lease on its way: its module is read from the disk, it is granted or refused at once, or it waits for
 * room (allocator/queue.h says who is next), and then for its memory to be registered. Control thread only.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "control/control.h"
#include "util/clock.h"

struct admission {
	struct adv_waiting waiting; /* first: see adv_waiting */
	struct adv_queue_entry place;
	struct adv_control *control;
	struct adv_module *module; /* a reference */
	bool is_remote;
	struct adv_remote_wish remote;
	char reason[ADV_REASON_MAX]; /* why it could not be granted the last time */
};

static void admission_free(struct admission *a)
{
	adv_queue_remove(&a->control->queue, &a->place);
	if (a->waiting.request != NULL)
		adv_http_set_user(a->waiting.request, NULL);
	adv_module_put(a->module);
	free(a);
}

static void __attribute__((format(printf, 3, 4)))
refuse(struct admission *a, enum adv_status status, const char *format, ...)
{
	struct adv_http_request *request = a->waiting.request;
	char text[2 * ADV_REASON_MAX];
	va_list args;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	/* First it lets go of the request: its answer may be followed by the next one of that connection. */
	admission_free(a);
	if (request != NULL)
		adv_http_fail(request, status, "%s", text);
}

/* ---- granting ---- */

static void grant(struct admission *a, struct adv_held *h)
{
	struct adv_http_request *request = a->waiting.request;
	/* Of the lease's own beginning: over verbs registering takes a while more, which its client does not get. */
	if (a->place.since_ns != 0)
		h->waited_ms = (h->entry->granted_ns - a->place.since_ns) / ADV_MS;
	admission_free(a);
	adv_api_lease_granted(request, h);
}

/* Over verbs: its memory is registered, or could not be. */
static void registered(struct adv_held *h, enum adv_status status, const char *reason)
{
	struct admission *a = h->granted_user;
	if (status != ADV_OK) {
		refuse(a, status, "the lease could not be granted: %s", reason);
	} else if (a->waiting.request == NULL) {
		admission_free(a);
		h->client_gone = true;
		adv_held_end(h, ADV_CLOSED);
	} else {
		grant(a, h);
	}
}

/* ADV_OK: it is answered, or will be, and is no business of the queue's any more. */
static enum adv_status try_open(struct admission *a)
{
	struct adv_held *h;
	const struct adv_held_remote remote = {.wish = a->remote, .granted = registered, .user = a};
	a->reason[0] = '\0';
	enum adv_status status =
		adv_held_open(a->control, a->module, &a->place.wish, a->is_remote ? &remote : NULL,
			      &h, a->reason, sizeof(a->reason));
	if (status != ADV_OK)
		return status;
	adv_queue_remove(&a->control->queue, &a->place);
	if (!a->is_remote)
		grant(a, h);
	return ADV_OK;
}

/* ---- waiting ---- */

static void serve_at(struct adv_control *c, uint64_t boot_ns)
{
	uint64_t now = adv_clock_boottime_ns();
	uint64_t left = boot_ns > now ? boot_ns - now : 0;
	/* Lease times go on while the machine sleeps, the loop's timers do not. */
	adv_timer_set(&c->admission_timer,
		      boot_ns == UINT64_MAX
			      ? UINT64_MAX
			      : adv_clock_monotonic_ns() + (left < ADV_SEC ? left : ADV_SEC));
}

static struct admission *admission_of(struct adv_queue_entry *e)
{
	return (struct admission *)((char *)e - offsetof(struct admission, place));
}

static void give_up(struct admission *a)
{
	adv_leases_note_refusal(a->control->leases);
	refuse(a, ADV_NO_CAPACITY, "waited %" PRIu64 " ms in vain: %s", a->place.wish.wait_ms,
	       a->reason);
}

/* The next in turn, as long as there is room for them. */
static void serve(struct adv_control *c)
{
	struct adv_queue_entry *e;
	uint64_t when_ns = UINT64_MAX, now = adv_clock_boottime_ns();
	while ((e = adv_queue_next(&c->queue, c->leases, now, &when_ns)) != NULL) {
		struct admission *a = admission_of(e);
		if (a->waiting.request == NULL) {
			admission_free(a);
			continue;
		}
		enum adv_status status = try_open(a);
		if (status == ADV_NO_CAPACITY)
			break;
		if (status != ADV_OK)
			refuse(a, status, "%s", a->reason);
	}
	while ((e = adv_queue_due(&c->queue, now)) != NULL)
		give_up(admission_of(e));
	uint64_t due_ns = adv_queue_next_ns(&c->queue);
	serve_at(c, due_ns < when_ns ? due_ns : when_ns);
}

static void serve_fire(struct adv_timer *timer)
{
	serve(timer->user);
}

/* Whose clients have gone away take no place from others. */
static void drop_gone(struct adv_control *c)
{
	struct adv_queue_entry *next;
	for (struct adv_queue_entry *e = c->queue.first; e != NULL; e = next) {
		next = e->next;
		if (admission_of(e)->waiting.request == NULL)
			admission_free(admission_of(e));
	}
}

static void wait_for_room(struct admission *a)
{
	struct adv_control *c = a->control;
	uint64_t now = adv_clock_boottime_ns();
	uint64_t until = now + a->place.wish.wait_ms * ADV_MS;
	drop_gone(c);
	if (adv_queue_add(&c->queue, &a->place, now, until) < 0) {
		adv_leases_note_refusal(c->leases);
		refuse(a, ADV_NO_CAPACITY, "%s; and %" PRIu32 " requests wait already", a->reason,
		       c->queue.nr);
		return;
	}
	serve_at(c, now);
}

/* Nobody overtakes who waits. */
static bool others_wait(struct admission *a)
{
	struct adv_control *c = a->control;
	uint64_t when_ns = UINT64_MAX;
	if (adv_queue_next(&c->queue, c->leases, adv_clock_boottime_ns(), &when_ns) == NULL)
		return false;
	snprintf(a->reason, sizeof(a->reason),
		 "%" PRIu32 " requests wait for room before it: say how long it may wait (wait_ms)",
		 c->queue.nr);
	return true;
}

static void attempt(struct admission *a)
{
	enum adv_status status = others_wait(a) ? ADV_NO_CAPACITY : try_open(a);
	if (status == ADV_NO_CAPACITY && a->place.wish.wait_ms > 0)
		wait_for_room(a);
	else if (status != ADV_OK)
		refuse(a, status, "%s", a->reason);
}

/* ---- the beginning and the end ---- */

static void module_loaded(void *user, enum adv_status status, const char *reason)
{
	struct admission *a = user;
	if (a->waiting.request == NULL)
		admission_free(a);
	else if (status != ADV_OK)
		refuse(a, status, "module \"%s\" could not be read: %s", a->module->name, reason);
	else
		attempt(a);
}

void adv_admission_begin(struct adv_control *c, struct adv_http_request *request,
			 struct adv_module *module, const struct adv_lease_wish *wish,
			 const struct adv_remote_wish *remote)
{
	struct admission *a = calloc(1, sizeof(*a));
	if (a == NULL) {
		adv_http_fail(request, ADV_NO_CAPACITY, "the node is out of memory");
		return;
	}
	a->control = c;
	a->module = adv_module_get(module);
	a->place.wish = *wish;
	a->is_remote = remote != NULL;
	if (remote != NULL)
		a->remote = *remote;
	adv_waiting_start(&a->waiting, request);
	/* The first lease of a module after a start of the node waits for its bytes to come from the disk. */
	int rc = module->memfd >= 0 ? 1 : adv_registry_load(c->registry, module, module_loaded, a);
	if (rc == 1)
		module_loaded(a, ADV_OK, NULL);
	else if (rc < 0)
		refuse(a, ADV_SYSTEM, "the node is out of memory");
}

void adv_admission_init(struct adv_control *c)
{
	adv_queue_init(&c->queue, ADV_LEASE_QUEUE_MAX, ADV_LEASE_QUEUE_TENANT_MAX);
	adv_timer_init(&c->admission_timer, c->loop, serve_fire, c);
}

/* Not at once: whoever has made room is in the middle of something. */
void adv_admission_room(struct adv_control *c)
{
	if (c->queue.first != NULL)
		adv_timer_set(&c->admission_timer, adv_clock_monotonic_ns());
}

void adv_admission_refuse_all(struct adv_control *c, const char *reason)
{
	while (c->queue.first != NULL)
		refuse(admission_of(c->queue.first), ADV_NO_CAPACITY, "%s", reason);
}
