/* cores.c - the core map by hwloc, and who sits where. One thread after its creation. */
#include "allocator/cores.h"

#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "allocator/machine.h"

#define NOBODY UINT32_MAX

struct cpu {
	struct adv_machine_cpu is;
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
	enum adv_cores_choice choice;
	int near; /* a NUMA node, -1: none */
	struct adv_machine machine;
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

/* ---- the machine ---- */

static int take_cpus(struct adv_cores *c)
{
	const struct adv_machine *m = &c->machine;
	c->cpus = calloc(m->nr_cpus, sizeof(*c->cpus));
	c->cores = calloc(m->nr_cores, sizeof(*c->cores));
	if (c->cpus == NULL || c->cores == NULL)
		return -ENOMEM;
	c->nr_cpus = m->nr_cpus;
	c->nr_cores = m->nr_cores;
	for (unsigned i = 0; i < m->nr_cpus; i++)
		c->cpus[i].is = m->cpus[i];
	for (unsigned i = 0; i < m->nr_cores; i++)
		c->cores[i].tenant = NOBODY;
	return 0;
}

/* ---- roles ---- */

static struct cpu *cpu_of(const struct adv_cores *c, int os)
{
	for (unsigned i = 0; i < c->nr_cpus; i++)
		if (c->cpus[i].is.os == os)
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
			snprintf(reason, size, "%s CPUs: CPU %ld %s", what, os,
				 adv_machine_why_not(&c->machine, (unsigned)os));
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

/* Some are set apart by the kernel, and others are not. */
static bool some(const struct adv_cores *c, bool (*apart)(const struct adv_machine_cpu *cpu))
{
	unsigned n = 0;
	for (unsigned i = 0; i < c->nr_cpus; i++)
		n += apart(&c->cpus[i].is);
	return n > 0 && n < c->nr_cpus;
}

static bool isolated(const struct adv_machine_cpu *cpu)
{
	return cpu->isolated;
}

static bool tickless(const struct adv_machine_cpu *cpu)
{
	return cpu->tickless;
}

/*
 * Whoever boots with isolcpus= or nohz_full= has said which CPUs are for work like this. Else everything but the first physical core is for workers; on one
 * or two CPUs everything is, and housekeeping shares the first.
 */
static void choose_workers(struct adv_cores *c)
{
	c->choice = some(c, isolated)	? ADV_CORES_ISOLATED
		    : some(c, tickless) ? ADV_CORES_TICKLESS
					: ADV_CORES_TOPOLOGY;
	for (unsigned i = 0; i < c->nr_cpus; i++) {
		struct cpu *cpu = &c->cpus[i];
		cpu->worker = c->choice == ADV_CORES_ISOLATED ? cpu->is.isolated
			      : c->choice == ADV_CORES_TICKLESS
				      ? cpu->is.tickless
				      : c->small || cpu->is.core != c->cpus[0].is.core;
	}
}

static int assign_roles(struct adv_cores *c, const struct adv_cores_options *o, char *reason,
			size_t size)
{
	c->small = c->nr_cpus <= 2;
	if (o->worker_cpus != NULL) {
		int rc = mark_list(c, "worker", offsetof(struct cpu, worker), o->worker_cpus,
				   reason, size);
		if (rc < 0)
			return rc;
		c->choice = ADV_CORES_LIST;
	} else {
		choose_workers(c);
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
	/* Near the device first. */
	for (unsigned i = 0; i < 2 * c->nr_cpus && taken < o->nr_pollers; i++) {
		struct cpu *cpu = &c->cpus[i % c->nr_cpus];
		bool far = c->near >= 0 && cpu->is.node != c->near;
		if (!cpu->worker || cpu->house || (i < c->nr_cpus && far))
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
			return (struct adv_core){.cpu = cpu->is.os,
						 .shared = cpu->worker || cpu->house ||
							   nr < c->nr_pollers};
	}
	return (struct adv_core){.cpu = -1, .shared = true};
}

int adv_cores_create(const struct adv_cores_options *options, struct adv_cores **cores,
		     char *reason, size_t size)
{
	struct adv_cores *c = calloc(1, sizeof(*c));
	int rc = c == NULL ? -ENOMEM : adv_machine_read(&c->machine, options->sysfs);
	if (rc == 0)
		rc = take_cpus(c);
	if (rc == 0) {
		c->oversubscribe = options->oversubscribe;
		c->near = options->near_numa_node - 1;
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
	adv_machine_forget(&c->machine);
	free(c->cpus);
	free(c->cores);
	free(c);
}

/* ---- places ---- */

/* May this tenant have the CPU for itself? */
static bool exclusive(const struct adv_cores *c, const struct cpu *cpu, uint32_t tenant)
{
	const struct core *core = &c->cores[cpu->is.core];
	return cpu->worker && cpu->load == 0 &&
	       (core->load == 0 || (core->tenant == tenant && !core->mixed));
}

/*
 * Lower is better: a core that also keeps house last, a first hardware thread before its siblings, the wanted NUMA node before
 * others. Higher CPU numbers first: whatever else runs on the machine tends to start at the low ones.
 */
static uint64_t cost(const struct cpu *cpu, int node, bool load_first)
{
	uint64_t place = (uint64_t)cpu->house << 2 | (uint64_t)(cpu->is.thread > 0) << 1 |
			 (uint64_t)(node >= 0 && cpu->is.node != node);
	uint64_t load = load_first ? cpu->load : 0;
	return load << 40 | place << 32 | (uint32_t)(INT_MAX - cpu->is.os);
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
	struct core *core = &c->cores[cpu->is.core];
	cpu->load++;
	if (core->load++ == 0)
		core->tenant = tenant;
	else if (core->tenant != tenant)
		core->mixed = true;
}

static void rise(struct adv_cores *c, struct cpu *cpu)
{
	struct core *core = &c->cores[cpu->is.core];
	cpu->load--;
	if (--core->load == 0) {
		core->tenant = NOBODY;
		core->mixed = false;
	}
}

static unsigned free_on(const struct adv_cores *c, uint32_t tenant, int node)
{
	unsigned n = 0;
	for (unsigned i = 0; i < c->nr_cpus; i++)
		n += c->cpus[i].is.node == node && exclusive(c, &c->cpus[i], tenant);
	return n;
}

/* The NUMA node of the device where `n` workers fit; else the one with the most CPUs free for this tenant. */
static int best_node(const struct adv_cores *c, uint32_t tenant, uint32_t n)
{
	if (c->near >= 0 && free_on(c, tenant, c->near) >= n)
		return c->near;
	int found = -1;
	unsigned most = 0;
	for (unsigned i = 0; i < c->nr_cpus; i++) {
		unsigned has = free_on(c, tenant, c->cpus[i].is.node);
		if (has > most) {
			most = has;
			found = c->cpus[i].is.node;
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
	const struct cpu *cpu = next_place(c, tenant, best_node(c, tenant, 1), &shared);
	return cpu != NULL ? cpu->is.os : -1;
}

int adv_cores_take(struct adv_cores *c, uint32_t tenant, uint32_t n, struct adv_core *places)
{
	if (n == 0)
		return -EINVAL;
	int node = best_node(c, tenant, n);
	for (uint32_t i = 0; i < n; i++) {
		bool shared;
		struct cpu *cpu = next_place(c, tenant, node, &shared);
		if (cpu == NULL) {
			adv_cores_give(c, tenant, i, places);
			return -EBUSY;
		}
		sit(c, cpu, tenant);
		places[i] = (struct adv_core){.cpu = cpu->is.os, .shared = shared};
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
			return c->cpus[i].is.os;
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
		if (c->cpus[i].is.os > last)
			last = c->cpus[i].is.os;
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

const char *adv_cores_describe(const struct adv_cores *c, char *out, size_t size)
{
	static const char *const why[] = {
		[ADV_CORES_TOPOLOGY] = "",
		[ADV_CORES_ISOLATED] = " (isolated at boot)",
		[ADV_CORES_TICKLESS] = " (nohz_full)",
		[ADV_CORES_LIST] = " (as configured)",
	};
	adv_cores_list(c, out, size);
	size_t fill = strlen(out);
	fill += (size_t)snprintf(out + fill, size - fill, "%s", why[c->choice]);
	for (unsigned i = 0; i < c->nr_cpus && fill < size; i++) {
		const struct cpu *cpu = &c->cpus[i];
		if (!cpu->worker || !(cpu->house || cpu->poller))
			continue;
		fill += (size_t)snprintf(out + fill, size - fill, "; CPU %d is shared with %s",
					 cpu->is.os,
					 cpu->house && cpu->poller ? "the node and its poller"
					 : cpu->poller		   ? "the poller"
								   : "the node");
	}
	return out;
}

int adv_cores_numa_node(const struct adv_cores *c, int os)
{
	const struct cpu *cpu = cpu_of(c, os);
	return cpu != NULL && c->machine.nr_nodes > 1 ? cpu->is.node : -1;
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
