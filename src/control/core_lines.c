/* core_lines.c - the pages of shared cores. The control thread. */
#include "control/core_lines.h"

#include <errno.h>
#include <stdlib.h>

#include "allocator/arena.h"
#include "util/limits.h"

struct core {
	int cpu;
	uint32_t workers; /* the node's own count: the page's copy may be anything */
	struct adv_shared page;
	uint64_t suspect; /* holds the core, and was not seen to run the last time */
	bool runs;	  /* the present holder was named since the last sweep */
};

struct adv_core_lines {
	struct core *cores;
	size_t nr_cores, capacity;
};

int adv_core_lines_create(struct adv_core_lines **lines)
{
	*lines = calloc(1, sizeof(**lines));
	return *lines != NULL ? 0 : -ENOMEM;
}

void adv_core_lines_destroy(struct adv_core_lines *l)
{
	if (l == NULL)
		return;
	for (size_t i = 0; i < l->nr_cores; i++)
		adv_shared_destroy(&l->cores[i].page);
	free(l->cores);
	free(l);
}

static struct adv_core_line *line_of(const struct core *c)
{
	return c->page.map;
}

static struct core *find(const struct adv_core_lines *l, int cpu)
{
	for (size_t i = 0; i < l->nr_cores; i++)
		if (l->cores[i].cpu == cpu)
			return &l->cores[i];
	return NULL;
}

static int make(struct adv_core_lines *l, int cpu, struct core **out)
{
	if (l->nr_cores == l->capacity) {
		size_t more = l->capacity != 0 ? 2 * l->capacity : 16;
		struct core *cores = reallocarray(l->cores, more, sizeof(*cores));
		if (cores == NULL)
			return -ENOMEM;
		l->cores = cores;
		l->capacity = more;
	}
	struct core *c = &l->cores[l->nr_cores];
	*c = (struct core){.cpu = cpu};
	int rc = adv_shared_create("adverb-core", ADV_PAGE, &c->page);
	if (rc < 0)
		return rc;
	l->nr_cores++;
	*out = c;
	return 0;
}

static void tell(const struct core *c)
{
	atomic_store_explicit(&line_of(c)->workers, c->workers, memory_order_relaxed);
}

int adv_core_lines_sit(struct adv_core_lines *l, int cpu)
{
	struct core *c = find(l, cpu);
	int rc = c == NULL ? make(l, cpu, &c) : 0;
	if (rc < 0)
		return rc;
	c->workers++;
	tell(c);
	return c->page.rw;
}

void adv_core_lines_rise(struct adv_core_lines *l, int cpu, uint64_t worker)
{
	struct core *c = find(l, cpu);
	if (c == NULL || c->workers == 0)
		return;
	c->workers--;
	tell(c);
	adv_core_line_give(line_of(c), worker);
}

void adv_core_lines_runs(struct adv_core_lines *l, int cpu, uint64_t worker)
{
	struct core *c = find(l, cpu);
	if (c != NULL)
		c->runs |=
			atomic_load_explicit(&line_of(c)->holder, memory_order_relaxed) == worker;
}

void adv_core_lines_sweep(struct adv_core_lines *l)
{
	for (size_t i = 0; i < l->nr_cores; i++) {
		struct core *c = &l->cores[i];
		uint64_t holder = atomic_load_explicit(&line_of(c)->holder, memory_order_relaxed);
		if (holder == 0 || c->runs) {
			c->suspect = 0;
		} else if (holder == c->suspect) {
			adv_core_line_give(line_of(c), holder);
			c->suspect = 0;
		} else {
			c->suspect = holder;
		}
		tell(c); /* and if a worker wrote there, it is mended */
		c->runs = false;
	}
}
