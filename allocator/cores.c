/* cores.c - the core map by hwloc, and who sits where. One thread after its creation. */
#include "allocator/cores.h"

#include <errno.h>
#include <hwloc.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NOBODY UINT32_MAX

struct cpu {
	int os;	       /* Linux's number */
	int core;      /* physical core, as hwloc numbers them */
	int node;      /* NUMA node */
	int thread;    /* which hardware thread of its core */
	bool worker;   /* workers may sit here */
	bool house;    /* housekeeping happens here too */
	bool poller;   /* pollers sit here */
	uint32_t load; /* workers on it */
};

struct core {
	uint32_t tenant; /* whose workers sit on its threads; NOBODY when there are none */
	uint32_t load;
	bool mixed; /* several tenants share it: only when oversubscribed */
};

struct adv_cores {
	struct cpu *cpus;
	unsigned nr_cpus;
	struct core *cores;
	unsigned nr_cores;
	enum adv_oversubscribe oversubscribe;
	bool small; /* one or two CPUs: housekeeping shares with workers */
	uint32_t nr_pollers;
};

static const char *const oversubscribe_names[] = {
	[ADV_OVERSUBSCRIBE_NO] = "no",
	[ADV_OVERSUBSCRIBE_BUSY] = "busy",
	[ADV_OVERSUBSCRIBE_TURNS] = "turns",
};

const char *adv_oversubscribe_name(enum adv_oversubscribe oversubscribe)
{
	return oversubscribe_names[oversubscribe];
}

int adv_oversubscribe_parse(const char *name, enum adv_oversubscribe *oversubscribe)
{
	for (unsigned i = 0; i < sizeof(oversubscribe_names) / sizeof(oversubscribe_names[0]);
	     i++) {
		if (strcmp(name, oversubscribe_names[i]) == 0) {
			*oversubscribe = (enum adv_oversubscribe)i;
			return 0;
		}
	}
	return -EINVAL;
}

/* ---- reading the machine ---- */

static int read_topology(hwloc_topology_t *out)
{
	hwloc_topology_t t;
	if (hwloc_topology_init(&t) < 0)
		return -ENOMEM;
	/* Only what is in this process's cpuset, and nothing of PCI or graphics. */
	hwloc_topology_set_io_types_filter(t, HWLOC_TYPE_FILTER_KEEP_NONE);
	hwloc_topology_set_type_filter(t, HWLOC_OBJ_MISC, HWLOC_TYPE_FILTER_KEEP_NONE);
	if (hwloc_topology_load(t) < 0) {
		hwloc_topology_destroy(t);
		return -ENODEV;
	}
	hwloc_bitmap_t bound = hwloc_bitmap_alloc();
	if (bound != NULL && hwloc_get_cpubind(t, bound, HWLOC_CPUBIND_PROCESS) == 0 &&
	    !hwloc_bitmap_iszero(bound))
		hwloc_topology_restrict(t, bound, 0);
	hwloc_bitmap_free(bound);
	*out = t;
	return 0;
}

static int fill_cpus(struct adv_cores *c, hwloc_topology_t t)
{
	int nr_pus = hwloc_get_nbobjs_by_type(t, HWLOC_OBJ_PU);
	int nr_cores = hwloc_get_nbobjs_by_type(t, HWLOC_OBJ_CORE);
	if (nr_pus <= 0)
		return -ENODEV;
	if (nr_cores <= 0)
		nr_cores = nr_pus; /* a machine that does not tell: each CPU a core */
	c->cpus = calloc((size_t)nr_pus, sizeof(*c->cpus));
	c->cores = calloc((size_t)nr_cores, sizeof(*c->cores));
	int *threads = calloc((size_t)nr_cores, sizeof(*threads));
	if (c->cpus == NULL || c->cores == NULL || threads == NULL) {
		free(threads);
		return -ENOMEM;
	}
	c->nr_cpus = (unsigned)nr_pus;
	c->nr_cores = (unsigned)nr_cores;
	for (int i = 0; i < nr_pus; i++) {
		hwloc_obj_t pu = hwloc_get_obj_by_type(t, HWLOC_OBJ_PU, (unsigned)i);
		hwloc_obj_t core = hwloc_get_ancestor_obj_by_type(t, HWLOC_OBJ_CORE, pu);
		int number = core != NULL ? (int)core->logical_index : i;
		int node = pu->nodeset != NULL ? hwloc_bitmap_first(pu->nodeset) : 0;
		c->cpus[i] = (struct cpu){.os = (int)pu->os_index,
					  .core = number,
					  .node = node,
					  .thread = threads[number]++};
	}
	for (int i = 0; i < nr_cores; i++)
		c->cores[i].tenant = NOBODY;
	free(threads);
	return 0;
}

/* ---- roles ---- */

static struct cpu *cpu_of(const struct adv_cores *c, int os)
{
	for (unsigned i = 0; i < c->nr_cpus; i++)
		if (c->cpus[i].os == os)
			return &c->cpus[i];
	return NULL;
}

static int parse_cpu(const char **text, long *value)
{
	char *end;
	errno = 0;
	*value = strtol(*text, &end, 10);
	if (end == *text || errno != 0 || *value < 0 || *value > INT_MAX)
		return -EINVAL;
	*text = end;
	return 0;
}

/* One "a" or "a-b" of the list. */
static int mark_range(struct adv_cores *c, const char *what, size_t mark, const char **text,
		      char *reason, size_t size)
{
	long from, to;
	if (parse_cpu(text, &from) < 0)
		return -EINVAL;
	to = from;
	if (**text == '-') {
		(*text)++;
		if (parse_cpu(text, &to) < 0 || to < from)
			return -EINVAL;
	}
	for (long os = from; os <= to; os++) {
		struct cpu *cpu = cpu_of(c, (int)os);
		if (cpu == NULL) {
			snprintf(reason, size,
				 "%s CPUs: CPU %ld is not one that this process may use", what, os);
			return -EINVAL;
		}
		*(bool *)((char *)cpu + mark) = true;
	}
	return 0;
}

/* Sets the member at `mark` of each CPU of the list. */
static int mark_list(struct adv_cores *c, const char *what, size_t mark, const char *list,
		     char *reason, size_t size)
{
	const char *text = list;
	reason[0] = '\0';
	for (;;) {
		int rc = mark_range(c, what, mark, &text, reason, size);
		if (rc == 0 && *text == '\0')
			return 0;
		if (rc < 0 || *text != ',') {
			if (reason[0] == '\0')
				snprintf(reason, size,
					 "%s CPUs \"%.64s\": must be a list like \"2-63,66\"", what,
					 list);
			return -EINVAL;
		}
		text++;
	}
}

/* Everything but the first physical core is for workers; on one or two CPUs everything is, and housekeeping shares the first. */
static int assign_roles(struct adv_cores *c, const struct adv_cores_options *o, char *reason,
			size_t size)
{
	c->small = c->nr_cpus <= 2;
	if (o->worker_cpus != NULL) {
		int rc = mark_list(c, "worker", offsetof(struct cpu, worker), o->worker_cpus,
				   reason, size);
		if (rc < 0)
			return rc;
	} else {
		for (unsigned i = 0; i < c->nr_cpus; i++)
			c->cpus[i].worker = c->small || c->cpus[i].core != c->cpus[0].core;
	}
	bool any_house = false;
	for (unsigned i = 0; i < c->nr_cpus; i++) {
		c->cpus[i].house = !c->cpus[i].worker;
		any_house |= c->cpus[i].house;
	}
	if (!any_house)
		c->cpus[0].house = true;
	for (unsigned i = 0; i < c->nr_cpus; i++)
		if (c->cpus[i].worker)
			return 0;
	/* One physical core with several threads: there is nothing to set apart. */
	for (unsigned i = 0; i < c->nr_cpus; i++)
		c->cpus[i].worker = true;
	return 0;
}

/* CPUs of their own as long as more are left for workers; else all on the last, which workers take first: the others stay free of both. */
static int assign_pollers(struct adv_cores *c, const struct adv_cores_options *o, char *reason,
			  size_t size)
{
	unsigned nr_workers = 0, taken = 0;
	c->nr_pollers = o->nr_pollers;
	if (o->nr_pollers == 0)
		return 0;
	if (o->poller_cpus != NULL)
		return mark_list(c, "poller", offsetof(struct cpu, poller), o->poller_cpus, reason,
				 size);
	for (unsigned i = 0; i < c->nr_cpus; i++)
		nr_workers += c->cpus[i].worker;
	if (o->worker_cpus != NULL || nr_workers <= 2 * o->nr_pollers) {
		c->cpus[c->nr_cpus - 1].poller = true;
		return 0;
	}
	for (unsigned i = 0; i < c->nr_cpus && taken < o->nr_pollers; i++) {
		struct cpu *cpu = &c->cpus[i];
		if (!cpu->worker || cpu->house)
			continue;
		cpu->worker = false;
		cpu->poller = true;
		taken++;
	}
	return 0;
}

struct adv_core adv_cores_poller(const struct adv_cores *c, uint32_t i)
{
	uint32_t nr = 0;
	for (unsigned k = 0; k < c->nr_cpus; k++)
		nr += c->cpus[k].poller;
	for (unsigned k = 0, at = 0; k < c->nr_cpus; k++) {
		const struct cpu *cpu = &c->cpus[k];
		if (cpu->poller && at++ == i % nr)
			return (struct adv_core){.cpu = cpu->os,
						 .shared = cpu->worker || cpu->house ||
							   nr < c->nr_pollers};
	}
	return (struct adv_core){.cpu = -1, .shared = true};
}

int adv_cores_create(const struct adv_cores_options *options, struct adv_cores **cores,
		     char *reason, size_t size)
{
	hwloc_topology_t t;
	int rc = read_topology(&t);
	if (rc < 0) {
		snprintf(reason, size, "the machine's topology could not be read");
		return rc;
	}
	struct adv_cores *c = calloc(1, sizeof(*c));
	rc = c == NULL ? -ENOMEM : fill_cpus(c, t);
	hwloc_topology_destroy(t);
	if (rc == 0) {
		c->oversubscribe = options->oversubscribe;
		rc = assign_roles(c, options, reason, size);
		if (rc == 0)
			rc = assign_pollers(c, options, reason, size);
	} else {
		snprintf(reason, size, "the core map could not be made: %s", strerror(-rc));
	}
	if (rc < 0) {
		adv_cores_destroy(c);
		return rc;
	}
	*cores = c;
	return 0;
}

void adv_cores_destroy(struct adv_cores *c)
{
	if (c == NULL)
		return;
	free(c->cpus);
	free(c->cores);
	free(c);
}

/* ---- places ---- */

/* May this tenant have the CPU for itself? */
static bool exclusive(const struct adv_cores *c, const struct cpu *cpu, uint32_t tenant)
{
	const struct core *core = &c->cores[cpu->core];
	return cpu->worker && cpu->load == 0 &&
	       (core->load == 0 || (core->tenant == tenant && !core->mixed));
}

/*
 * Lower is better: a core that also keeps house last, a first hardware thread before its siblings, the wanted NUMA node before
 * others. Higher CPU numbers first: whatever else runs on the machine tends to start at the low ones.
 */
static uint64_t cost(const struct cpu *cpu, int node, bool load_first)
{
	uint64_t place = (uint64_t)cpu->house << 2 | (uint64_t)(cpu->thread > 0) << 1 |
			 (uint64_t)(node >= 0 && cpu->node != node);
	uint64_t load = load_first ? cpu->load : 0;
	return load << 40 | place << 32 | (uint32_t)(INT_MAX - cpu->os);
}

static struct cpu *best(const struct adv_cores *c, uint32_t tenant, int node, bool share)
{
	struct cpu *found = NULL;
	for (unsigned i = 0; i < c->nr_cpus; i++) {
		struct cpu *cpu = &c->cpus[i];
		if (share ? !cpu->worker : !exclusive(c, cpu, tenant))
			continue;
		if (found == NULL || cost(cpu, node, share) < cost(found, node, share))
			found = cpu;
	}
	return found;
}

static void sit(struct adv_cores *c, struct cpu *cpu, uint32_t tenant)
{
	struct core *core = &c->cores[cpu->core];
	cpu->load++;
	if (core->load++ == 0)
		core->tenant = tenant;
	else if (core->tenant != tenant)
		core->mixed = true;
}

static void rise(struct adv_cores *c, struct cpu *cpu)
{
	struct core *core = &c->cores[cpu->core];
	cpu->load--;
	if (--core->load == 0) {
		core->tenant = NOBODY;
		core->mixed = false;
	}
}

/* The NUMA node with the most CPUs free for this tenant. */
static int roomiest(const struct adv_cores *c, uint32_t tenant)
{
	int found = -1;
	unsigned most = 0;
	for (unsigned i = 0; i < c->nr_cpus; i++) {
		unsigned n = 0;
		for (unsigned k = 0; k < c->nr_cpus; k++)
			n += c->cpus[k].node == c->cpus[i].node &&
			     exclusive(c, &c->cpus[k], tenant);
		if (n > most) {
			most = n;
			found = c->cpus[i].node;
		}
	}
	return found;
}

/* Where the next worker is to sit; NULL: nowhere. */
static struct cpu *next_place(const struct adv_cores *c, uint32_t tenant, int node, bool *shared)
{
	struct cpu *cpu = best(c, tenant, node, false);
	*shared = cpu == NULL || cpu->house;
	if (cpu == NULL && c->oversubscribe != ADV_OVERSUBSCRIBE_NO)
		cpu = best(c, tenant, node, true);
	return cpu;
}

int adv_cores_guess(const struct adv_cores *c, uint32_t tenant)
{
	bool shared;
	const struct cpu *cpu = next_place(c, tenant, roomiest(c, tenant), &shared);
	return cpu != NULL ? cpu->os : -1;
}

int adv_cores_take(struct adv_cores *c, uint32_t tenant, uint32_t n, struct adv_core *places)
{
	if (n == 0)
		return -EINVAL;
	int node = roomiest(c, tenant);
	for (uint32_t i = 0; i < n; i++) {
		bool shared;
		struct cpu *cpu = next_place(c, tenant, node, &shared);
		if (cpu == NULL) {
			adv_cores_give(c, tenant, i, places);
			return -EBUSY;
		}
		sit(c, cpu, tenant);
		places[i] = (struct adv_core){.cpu = cpu->os, .shared = shared};
	}
	return 0;
}

void adv_cores_give(struct adv_cores *c, uint32_t tenant, uint32_t n, const struct adv_core *places)
{
	(void)tenant;
	for (uint32_t i = 0; i < n; i++) {
		struct cpu *cpu = cpu_of(c, places[i].cpu);
		if (cpu != NULL && cpu->load > 0)
			rise(c, cpu);
	}
}

int adv_cores_housekeeping(const struct adv_cores *c)
{
	for (unsigned i = 0; i < c->nr_cpus && !c->small; i++)
		if (c->cpus[i].house)
			return c->cpus[i].os;
	return -1;
}

static bool is_worker(const struct adv_cores *c, int os)
{
	const struct cpu *cpu = cpu_of(c, os);
	return cpu != NULL && cpu->worker;
}

const char *adv_cores_list(const struct adv_cores *c, char *out, size_t size)
{
	int last = 0;
	size_t fill = 0;
	out[0] = '\0';
	for (unsigned i = 0; i < c->nr_cpus; i++)
		if (c->cpus[i].os > last)
			last = c->cpus[i].os;
	for (int from = 0, to; from <= last && fill < size; from = to + 1) {
		for (to = from; is_worker(c, to + 1) && is_worker(c, from); to++)
			;
		if (!is_worker(c, from))
			continue;
		fill += (size_t)snprintf(out + fill, size - fill, to > from ? "%s%d-%d" : "%s%d",
					 fill > 0 ? "," : "", from, to);
	}
	return out;
}

uint32_t adv_cores_total(const struct adv_cores *c)
{
	uint32_t n = 0;
	for (unsigned i = 0; i < c->nr_cpus; i++)
		n += c->cpus[i].worker;
	return n;
}

uint32_t adv_cores_free(const struct adv_cores *c)
{
	uint32_t n = 0;
	for (unsigned i = 0; i < c->nr_cpus; i++)
		n += c->cpus[i].worker && c->cpus[i].load == 0;
	return n;
}

enum adv_core_role adv_cores_role(const struct adv_cores *c, int os)
{
	const struct cpu *cpu = cpu_of(c, os);
	if (cpu == NULL)
		return ADV_CORE_HOUSEKEEPING;
	return cpu->worker   ? ADV_CORE_WORKER
	       : cpu->poller ? ADV_CORE_POLLER
			     : ADV_CORE_HOUSEKEEPING;
}

uint32_t adv_cores_load(const struct adv_cores *c, int os)
{
	const struct cpu *cpu = cpu_of(c, os);
	return cpu != NULL ? cpu->load : 0;
}
