/* machine.c - the machine's CPUs as hwloc and the kernel tell of them. Any thread. */
#include "allocator/machine.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A CPU list of the kernel's. A file that is not there, or says "(null)", is an empty list. */
static hwloc_bitmap_t read_list(const char *sysfs, const char *name)
{
	char path[256], text[4096] = "";
	hwloc_bitmap_t set = hwloc_bitmap_alloc();
	FILE *file = NULL;
	if (sysfs != NULL && snprintf(path, sizeof(path), "%s/%s", sysfs, name) < (int)sizeof(path))
		file = fopen(path, "re");
	if (file == NULL)
		return set;
	if (set != NULL && fgets(text, sizeof(text), file) != NULL)
		text[strcspn(text, "\n")] = '\0';
	if (set != NULL && text[0] >= '0' && text[0] <= '9' &&
	    hwloc_bitmap_list_sscanf(set, text) < 0)
		hwloc_bitmap_zero(set);
	fclose(file);
	return set;
}

static int load(hwloc_topology_t *out)
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
	*out = t;
	return 0;
}

/* This thread's mask, and isolated CPUs too where the mask is the one that a process has when nobody sets it. */
static void restrict_to_mask(hwloc_topology_t t, hwloc_const_bitmap_t isolated)
{
	hwloc_bitmap_t mask = hwloc_bitmap_alloc(), others = hwloc_bitmap_alloc();
	if (mask != NULL && others != NULL &&
	    hwloc_get_cpubind(t, mask, HWLOC_CPUBIND_THREAD) == 0) {
		hwloc_bitmap_andnot(others, hwloc_topology_get_topology_cpuset(t), isolated);
		if (hwloc_bitmap_isequal(mask, others))
			hwloc_bitmap_or(mask, mask, isolated);
		if (hwloc_bitmap_intersects(mask, hwloc_topology_get_topology_cpuset(t)))
			hwloc_topology_restrict(t, mask, 0);
	}
	hwloc_bitmap_free(mask);
	hwloc_bitmap_free(others);
}

static int fill(struct adv_machine *m, hwloc_topology_t t, hwloc_const_bitmap_t isolated,
		hwloc_const_bitmap_t tickless)
{
	int nr_pus = hwloc_get_nbobjs_by_type(t, HWLOC_OBJ_PU);
	int nr_cores = hwloc_get_nbobjs_by_type(t, HWLOC_OBJ_CORE);
	int nr_nodes = hwloc_get_nbobjs_by_type(t, HWLOC_OBJ_NUMANODE);
	if (nr_pus <= 0)
		return -ENODEV;
	if (nr_cores <= 0)
		nr_cores = nr_pus; /* a machine that does not tell: each CPU a core */
	m->cpus = calloc((size_t)nr_pus, sizeof(*m->cpus));
	int *threads = calloc((size_t)nr_cores, sizeof(*threads));
	if (m->cpus == NULL || threads == NULL) {
		free(threads);
		return -ENOMEM;
	}
	m->nr_cpus = (unsigned)nr_pus;
	m->nr_cores = (unsigned)nr_cores;
	m->nr_nodes = nr_nodes > 0 ? (unsigned)nr_nodes : 1;
	for (int i = 0; i < nr_pus; i++) {
		hwloc_obj_t pu = hwloc_get_obj_by_type(t, HWLOC_OBJ_PU, (unsigned)i);
		hwloc_obj_t core = hwloc_get_ancestor_obj_by_type(t, HWLOC_OBJ_CORE, pu);
		int number = core != NULL ? (int)core->logical_index : i;
		m->cpus[i] = (struct adv_machine_cpu){
			.os = (int)pu->os_index,
			.core = number,
			.node = pu->nodeset != NULL ? hwloc_bitmap_first(pu->nodeset) : 0,
			.thread = threads[number]++,
			.isolated = hwloc_bitmap_isset(isolated, pu->os_index) != 0,
			.tickless = hwloc_bitmap_isset(tickless, pu->os_index) != 0};
	}
	free(threads);
	return 0;
}

int adv_machine_read(struct adv_machine *m, const char *sysfs)
{
	hwloc_topology_t t;
	memset(m, 0, sizeof(*m));
	int rc = load(&t);
	if (rc < 0)
		return rc;
	if (sysfs == NULL && hwloc_topology_is_thissystem(t))
		sysfs = ADV_MACHINE_SYSFS;
	hwloc_bitmap_t isolated = read_list(sysfs, "isolated");
	hwloc_bitmap_t tickless = read_list(sysfs, "nohz_full");
	m->offline = read_list(sysfs, "offline");
	m->allowed = hwloc_bitmap_dup(hwloc_topology_get_topology_cpuset(t));
	rc = -ENOMEM;
	if (isolated != NULL && tickless != NULL && m->offline != NULL && m->allowed != NULL) {
		restrict_to_mask(t, isolated);
		rc = fill(m, t, isolated, tickless);
	}
	hwloc_bitmap_free(isolated);
	hwloc_bitmap_free(tickless);
	hwloc_topology_destroy(t);
	return rc;
}

void adv_machine_forget(struct adv_machine *m)
{
	free(m->cpus);
	hwloc_bitmap_free(m->offline);
	hwloc_bitmap_free(m->allowed);
	memset(m, 0, sizeof(*m));
}

const char *adv_machine_why_not(const struct adv_machine *m, unsigned cpu)
{
	if (m->offline != NULL && hwloc_bitmap_isset(m->offline, cpu))
		return "is offline";
	if (m->allowed != NULL && hwloc_bitmap_isset(m->allowed, cpu))
		return "is not in this process's CPU mask (taskset, CPUAffinity=)";
	return "is not on this machine, or not in this cgroup's cpuset";
}
