/*
 * billing.c - what leases use: counted from their lanes and by the kernel, added to the ledger and to each lease's own bill, handed to the registry's thread each
 * second and at a lease's end. Control thread only.
 */
#include <stdio.h>
#include <string.h>

#include "control/control.h"
#include "lane/endings.h"
#include "util/clock.h"

#define USAGE_NS  ADV_SEC
#define FLUSH_NS  (100 * ADV_MS)
#define FORGET_NS (3600 * ADV_SEC) /* bills that are too old: looked for so often */

static struct adv_ledger_line bill(uint32_t tenant, const struct adv_module *module)
{
	struct adv_ledger_line line = {.tenant = tenant};
	snprintf(line.module, sizeof(line.module), "%u/%s", module->owner, module->name);
	return line;
}

static struct adv_ledger_line bill_of(const struct adv_held *h)
{
	return bill(h->entry->wish.tenant, h->module);
}

void adv_billing_spent(void *user, const struct adv_module *module, uint64_t cpu_ns)
{
	struct adv_control *c = user;
	struct adv_ledger_line used = bill(module->owner, module);
	used.cpu_us = cpu_ns / ADV_US;
	adv_ledger_add(c->ledger, &used);
	adv_billing_used(c);
}

/* To the tenant's and module's line, and to the lease's own. */
static void charge(struct adv_held *h, const struct adv_ledger_line *used)
{
	adv_ledger_add(h->control->ledger, used);
	adv_ledger_sum(&h->bill.used, used);
}

/* ---- use ---- */

void adv_billing_cpu(struct adv_held *h, uint64_t cpu_ns)
{
	struct adv_ledger_line used = bill_of(h);
	used.cpu_us = cpu_ns / ADV_US;
	charge(h, &used);
}

/*
 * Calls that nobody completes any more: the first was the one that ran, and ends with `status`; the others end with `rest`. What ran until then
 * is billed as the node saw it: the worker cannot tell any more.
 */
void adv_billing_unfinished(struct adv_worker_slot *w, enum adv_status status, enum adv_status rest)
{
	struct adv_ledger_line used = bill_of(w->held);
	uint64_t ran_ns;
	uint32_t n = adv_supervisor_unfinished(&w->supervisor, adv_clock_monotonic_ns(), &ran_ns);
	if (n == 0)
		return;
	used.calls = used.failures = n;
	used.executed_us = ran_ns / ADV_US;
	used.ended[adv_ending_of(status)]++;
	used.ended[adv_ending_of(rest)] += n - 1;
	charge(w->held, &used);
}

void adv_billing_cut_off(struct adv_held *h, enum adv_status status)
{
	for (uint32_t i = 0; i < h->geometry.nr_lanes; i++)
		if (h->workers[i].held != NULL)
			adv_billing_unfinished(&h->workers[i], status, status);
}

void adv_billing_count(struct adv_held *h)
{
	const struct adv_lease_wish *wish = &h->entry->wish;
	uint64_t now = adv_clock_boottime_ns();
	uint64_t elapsed_us = (now - h->counted_ns) / ADV_US;
	struct adv_ledger_line used = bill_of(h);
	used.allocated_core_us = adv_ledger_product(elapsed_us, wish->workers);
	used.allocated_mib_ms =
		adv_ledger_product(used.allocated_core_us, wish->memory_bytes / ADV_MIB) / 1000;
	for (uint32_t i = 0; i < h->geometry.nr_lanes; i++) {
		struct adv_lane_counts counts;
		adv_supervisor_count(&h->workers[i].supervisor, elapsed_us * ADV_US, &counts);
		used.executed_us += counts.executed_ns / ADV_US;
		used.polled_us += counts.polled_ns / ADV_US;
		used.calls += counts.calls;
		used.failures += counts.failures;
		used.bytes += counts.bytes;
		for (unsigned k = 0; k < ADV_ENDINGS; k++)
			used.ended[k] += counts.ended[k];
	}
	h->counted_ns += elapsed_us * ADV_US; /* the rest is counted the next time */
	charge(h, &used);
}

/* ---- bills ---- */

#define BILLS_AT_ONCE 64

void adv_billing_begin(struct adv_held *h)
{
	struct adv_ledger_line opened = bill_of(h);
	struct adv_bill *b = &h->bill;
	opened.leases = 1;
	b->lease = h->entry->id;
	b->workers = h->entry->wish.workers;
	b->memory_bytes = h->entry->wish.memory_bytes;
	b->began_ms = adv_clock_realtime_ms();
	b->used.tenant = opened.tenant;
	memcpy(b->used.module, opened.module, sizeof(b->used.module));
	snprintf(b->run, sizeof(b->run), "%s", h->control->started);
	charge(h, &opened);
}

/* One transaction for many: the registry's thread waits for the disk for each. */
static void store_bills(struct adv_control *c)
{
	static struct adv_bill bills[BILLS_AT_ONCE];
	int64_t now_ms = adv_clock_realtime_ms();
	size_t n = 0;
	for (struct adv_lease_entry *e = adv_leases_next(c->leases, NULL); e != NULL;
	     e = adv_leases_next(c->leases, e)) {
		struct adv_held *h = e->user;
		if (h == NULL || h->bill.used.leases == 0)
			continue;
		h->bill.seen_ms = now_ms;
		bills[n++] = h->bill;
		if (n == BILLS_AT_ONCE) {
			adv_registry_store_bills(c->registry, bills, n);
			n = 0;
		}
	}
	if (n > 0)
		adv_registry_store_bills(c->registry, bills, n);
}

void adv_billing_settle(struct adv_held *h)
{
	if (h->bill.used.leases == 0)
		return; /* it was never granted */
	h->bill.seen_ms = adv_clock_realtime_ms();
	adv_registry_store_bills(h->control->registry, &h->bill, 1);
}

void adv_billing_used(struct adv_control *c)
{
	if (c->usage_timer.deadline_ns == UINT64_MAX && c->usage_timer.fire != NULL)
		adv_timer_set(&c->usage_timer, adv_clock_monotonic_ns() + USAGE_NS);
}

void adv_billing_store(struct adv_control *c)
{
	struct adv_ledger_line lines[64];
	size_t n;
	while ((n = adv_ledger_take_dirty(c->ledger, lines, sizeof(lines) / sizeof(lines[0]))) > 0)
		adv_registry_store_ledger(c->registry, lines, n);
}

/* Whoever asks for bills again and again does not keep the disk busy. */
void adv_billing_flush_for(struct adv_control *c)
{
	uint64_t now = adv_clock_monotonic_ns();
	if (now - c->flushed_ns >= FLUSH_NS)
		adv_billing_flush(c);
}

void adv_billing_flush(struct adv_control *c)
{
	c->flushed_ns = adv_clock_monotonic_ns();
	for (struct adv_lease_entry *e = adv_leases_next(c->leases, NULL); e != NULL;
	     e = adv_leases_next(c->leases, e))
		if (e->user != NULL)
			adv_billing_count(e->user);
	adv_billing_store(c);
	store_bills(c);
	adv_accounting_report(c);
}

static void usage_fire(struct adv_timer *timer)
{
	struct adv_control *c = timer->user;
	adv_billing_flush(c);
	if (adv_leases_next(c->leases, NULL) != NULL)
		adv_timer_set(timer, adv_clock_monotonic_ns() + USAGE_NS);
}

/* ---- old bills ---- */

static void forget_fire(struct adv_timer *timer)
{
	struct adv_control *c = timer->user;
	int64_t keep_ms = (int64_t)c->options.bill_days * 24 * 3600 * 1000;
	adv_registry_forget_bills(c->registry, adv_clock_realtime_ms() - keep_ms);
	adv_timer_set(timer, adv_clock_monotonic_ns() + FORGET_NS);
}

void adv_billing_init(struct adv_control *c)
{
	adv_timer_init(&c->usage_timer, c->loop, usage_fire, c);
	adv_timer_init(&c->forget_timer, c->loop, forget_fire, c);
	adv_timer_set(&c->forget_timer, adv_clock_monotonic_ns() + ADV_SEC);
}
