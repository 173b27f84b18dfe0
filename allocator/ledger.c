/* ledger.c - sums by tenant and module. The control thread. */
#include "allocator/ledger.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct line {
	struct adv_ledger_line sums;
	bool dirty;
};

struct adv_ledger {
	struct line *lines;
	size_t nr_lines, capacity;
};

int adv_ledger_create(struct adv_ledger **ledger)
{
	struct adv_ledger *l = calloc(1, sizeof(*l));
	if (l == NULL)
		return -ENOMEM;
	*ledger = l;
	return 0;
}

void adv_ledger_destroy(struct adv_ledger *ledger)
{
	if (ledger != NULL)
		free(ledger->lines);
	free(ledger);
}

uint64_t adv_ledger_product(uint64_t a, uint64_t b)
{
	uint64_t product;
	return __builtin_mul_overflow(a, b, &product) ? UINT64_MAX : product;
}

void adv_ledger_increase(uint64_t *to, uint64_t n)
{
	if (__builtin_add_overflow(*to, n, to))
		*to = UINT64_MAX;
}

void adv_ledger_sum(struct adv_ledger_line *s, const struct adv_ledger_line *d)
{
	adv_ledger_increase(&s->leases, d->leases);
	adv_ledger_increase(&s->allocated_core_us, d->allocated_core_us);
	adv_ledger_increase(&s->allocated_mib_ms, d->allocated_mib_ms);
	adv_ledger_increase(&s->executed_us, d->executed_us);
	adv_ledger_increase(&s->polled_us, d->polled_us);
	adv_ledger_increase(&s->cpu_us, d->cpu_us);
	adv_ledger_increase(&s->calls, d->calls);
	adv_ledger_increase(&s->failures, d->failures);
	adv_ledger_increase(&s->bytes, d->bytes);
	for (unsigned i = 0; i < ADV_ENDINGS; i++)
		adv_ledger_increase(&s->ended[i], d->ended[i]);
}

/* The line of that tenant and module, made when there is none. NULL: no memory. */
static struct line *line_of(struct adv_ledger *l, uint32_t tenant, const char *module)
{
	for (size_t i = 0; i < l->nr_lines; i++)
		if (l->lines[i].sums.tenant == tenant &&
		    strncmp(l->lines[i].sums.module, module, sizeof(l->lines[i].sums.module)) == 0)
			return &l->lines[i];
	if (l->nr_lines == l->capacity) {
		size_t more = l->capacity != 0 ? 2 * l->capacity : 16;
		struct line *lines = reallocarray(l->lines, more, sizeof(*lines));
		if (lines == NULL)
			return NULL;
		l->lines = lines;
		l->capacity = more;
	}
	struct line *line = &l->lines[l->nr_lines++];
	memset(line, 0, sizeof(*line));
	line->sums.tenant = tenant;
	strncpy(line->sums.module, module, sizeof(line->sums.module) - 1);
	return line;
}

int adv_ledger_add(struct adv_ledger *ledger, const struct adv_ledger_line *d)
{
	struct line *line = line_of(ledger, d->tenant, d->module);
	if (line == NULL)
		return -ENOMEM;
	adv_ledger_sum(&line->sums, d);
	line->dirty = true;
	return 0;
}

int adv_ledger_restore(struct adv_ledger *ledger, const struct adv_ledger_line *stored)
{
	struct line *line = line_of(ledger, stored->tenant, stored->module);
	if (line == NULL)
		return -ENOMEM;
	line->sums = *stored;
	line->dirty = false;
	return 0;
}

size_t adv_ledger_take_dirty(struct adv_ledger *ledger, struct adv_ledger_line *lines, size_t max)
{
	size_t taken = 0;
	for (size_t i = 0; i < ledger->nr_lines && taken < max; i++) {
		if (!ledger->lines[i].dirty)
			continue;
		lines[taken++] = ledger->lines[i].sums;
		ledger->lines[i].dirty = false;
	}
	return taken;
}

const struct adv_ledger_line *adv_ledger_at(const struct adv_ledger *ledger, size_t index)
{
	return index < ledger->nr_lines ? &ledger->lines[index].sums : NULL;
}

/* ---- between nodes ---- */

size_t adv_ledger_accounts(const struct adv_ledger *l, struct adv_account *accounts, size_t max)
{
	size_t nr = 0;
	for (size_t i = 0; i < l->nr_lines; i++) {
		const struct adv_ledger_line *s = &l->lines[i].sums;
		const uint64_t sums[ADV_ACCOUNT_SUMS] = {s->allocated_core_us,
							 s->allocated_mib_ms,
							 s->executed_us,
							 s->polled_us,
							 s->calls,
							 s->bytes};
		size_t at = 0;
		while (at < nr && at < max && accounts[at].tenant != s->tenant)
			at++;
		if (at >= max)
			return max + 1; /* there is no telling how many more */
		if (at == nr)
			accounts[nr++] = (struct adv_account){.tenant = s->tenant};
		for (int k = 0; k < ADV_ACCOUNT_SUMS; k++)
			adv_ledger_increase(&accounts[at].sums[k], sums[k]);
	}
	return nr;
}

/* ---- prices ---- */

#define HOUR_US		(UINT64_C(3600) * 1000000)
#define GIB_HOUR_MIB_MS (UINT64_C(3600) * 1000 * 1024)

uint64_t adv_prices_cost(const struct adv_prices *p, const struct adv_ledger_line *l)
{
	const struct {
		uint64_t used, price, unit;
	} parts[] = {
		{l->allocated_core_us, p->core_hour, HOUR_US},
		{l->allocated_mib_ms, p->gib_hour, GIB_HOUR_MIB_MS},
		{l->executed_us, p->executed_hour, HOUR_US},
		{l->polled_us, p->polled_hour, HOUR_US},
		{l->calls, p->million_calls, 1000000},
		{l->bytes, p->gib, ADV_GIB},
	};
	uint64_t cost = 0;
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		unsigned __int128 part =
			(unsigned __int128)parts[i].used * parts[i].price / parts[i].unit;
		adv_ledger_increase(&cost, part > UINT64_MAX ? UINT64_MAX : (uint64_t)part);
	}
	return cost;
}
