/* facts.c - the walls that depend on the machine. Pure functions. */
#include "sandbox/facts.h"

static bool uids(const struct adv_warden_facts *f)
{
	return f->root != 0;
}

static bool landlock(const struct adv_warden_facts *f)
{
	return f->landlock_abi > 0;
}

static bool memory(const struct adv_warden_facts *f)
{
	return f->cgroup_memory != 0;
}

static bool cpu(const struct adv_warden_facts *f)
{
	return f->cgroup_cpu != 0;
}

static bool cpuset(const struct adv_warden_facts *f)
{
	return f->cgroup_cpuset != 0;
}

static bool freeze(const struct adv_warden_facts *f)
{
	return f->cgroup_freeze != 0;
}

static bool core_scheduling(const struct adv_warden_facts *f)
{
	return f->core_scheduling == ADV_CORE_SCHEDULING_ON ||
	       f->core_scheduling == ADV_CORE_SCHEDULING_NO_SMT;
}

#define DELEGATE                                                                              \
	"start the node as a systemd service with Delegate=yes, on a machine with cgroup v2 " \
	"alone (systemd.unified_cgroup_hierarchy=1)"

static const struct adv_wall walls[] = {
	{"uids", "each sandbox has a uid of its own",
	 "all sandboxes have the user's own uid: for your own code, not for hostile tenants",
	 "start the node as root: it drops its privileges itself", uids},
	{"memory limit", "a lease's memory is counted whole by cgroup v2",
	 "each worker's memory is limited by RLIMIT_DATA, which counts neither page tables nor "
	 "what "
	 "it first touches of its lane",
	 DELEGATE, memory},
	{"cpu limit", "a lease has no more processor time than its workers' cores",
	 "workers are pinned to their cores, and no more", DELEGATE, cpu},
	{"cpuset", "the kernel lets a lease run on its own cores alone",
	 "workers are pinned to their cores from outside, and no more", DELEGATE, cpuset},
	{"freezer", "modules with threads of their own are kept ready, frozen",
	 "modules that have threads after loading are not kept ready: their leases begin cold",
	 DELEGATE, freeze},
	{"Landlock", "a second wall behind the empty root",
	 "there is no second wall behind the empty root",
	 "boot a kernel with CONFIG_SECURITY_LANDLOCK (Linux 5.13), and landlock in lsm=",
	 landlock},
	{"core scheduling",
	 "nothing runs beside a tenant's sandboxes on the threads of their cores",
	 "tenants are kept off each other's cores by placement alone: other processes may run on "
	 "the hardware thread beside a sandbox",
	 "boot a kernel with CONFIG_SCHED_CORE (Linux 5.14) and set [sandbox] core_scheduling=yes, "
	 "or "
	 "switch SMT off (nosmt)",
	 core_scheduling},
};

const struct adv_wall *adv_wall_at(size_t index)
{
	return index < sizeof(walls) / sizeof(walls[0]) ? &walls[index] : NULL;
}

const char *adv_core_scheduling_name(uint32_t core_scheduling)
{
	static const char *const names[] = {[ADV_CORE_SCHEDULING_MISSING] = "missing",
					    [ADV_CORE_SCHEDULING_NO_SMT] = "one thread a core",
					    [ADV_CORE_SCHEDULING_OFF] = "off",
					    [ADV_CORE_SCHEDULING_ON] = "on"};
	return core_scheduling < sizeof(names) / sizeof(names[0]) ? names[core_scheduling]
								  : "unknown";
}
