/* files.c - checks of what the kernel shows of itself in files. Main thread; reads, and nothing else. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "doctor/doctor.h"

#define FILES_WANTED 4096
#define SMALL_CPUS   2

/* ---- what must be there ---- */

void adv_look_kernel(struct adv_patient *p, struct adv_finding *f)
{
	char text[128];
	unsigned major, minor;
	if (!adv_patient_read(p, "/proc/sys/kernel/osrelease", text, sizeof(text)) ||
	    sscanf(text, "%u.%u", &major, &minor) != 2)
		adv_find(f, ADV_CHECK_BAD, "mount a procfs at /proc",
			 "/proc/sys/kernel/osrelease cannot be read");
	else if (major < 5 || (major == 5 && minor < 12))
		adv_find(f, ADV_CHECK_BAD, "boot Linux 5.12 or later",
			 "Linux %s lacks what sandboxes are built with (mount_setattr)", text);
	else
		adv_find(f, ADV_CHECK_OK, NULL, "Linux %s", text);
}

void adv_look_userns(struct adv_patient *p, struct adv_finding *f)
{
	long long max = -1, clone = 1, apparmor = 0;
	adv_patient_number(p, "/proc/sys/user/max_user_namespaces", &max);
	adv_patient_number(p, "/proc/sys/kernel/unprivileged_userns_clone", &clone);
	adv_patient_number(p, "/proc/sys/kernel/apparmor_restrict_unprivileged_userns", &apparmor);
	if (max < 0)
		adv_find(f, ADV_CHECK_BAD, "boot a kernel with CONFIG_USER_NS",
			 "there are no user namespaces (/proc/sys/user/max_user_namespaces)");
	else if (max == 0)
		adv_find(f, ADV_CHECK_BAD, "sysctl user.max_user_namespaces=15000",
			 "user namespaces are switched off");
	else if (p->uid != 0 && clone == 0)
		adv_find(f, ADV_CHECK_BAD,
			 "sysctl kernel.unprivileged_userns_clone=1, or start the node as root",
			 "only root may make user namespaces");
	else if (p->uid != 0 && apparmor != 0)
		adv_find(f, ADV_CHECK_BAD,
			 "sysctl kernel.apparmor_restrict_unprivileged_userns=0, or start the node "
			 "as "
			 "root",
			 "AppArmor takes the rights from an ordinary user's namespaces");
	else
		adv_find(f, ADV_CHECK_OK, NULL, "%lld may be made", max);
}

/* Does one line of an id map cover the ids of all sandboxes? */
static bool covers(const char *map)
{
	const unsigned long first = ADV_UID_BASE, last = ADV_UID_BASE + ADV_SANDBOXES_MAX;
	for (const char *line = map; line != NULL; line = strchr(line, '\n')) {
		unsigned long inside, outside, count;
		line += *line == '\n';
		if (sscanf(line, "%lu %lu %lu", &inside, &outside, &count) == 3 &&
		    first >= inside && last - inside < count)
			return true;
	}
	return false;
}

void adv_look_uid_map(struct adv_patient *p, struct adv_finding *f)
{
	char map[4096];
	if (p->uid != 0)
		adv_find(f, ADV_CHECK_OK, NULL, "a user's sandboxes need none but the user's own");
	else if (!adv_patient_read(p, "/proc/self/uid_map", map, sizeof(map)) || !covers(map))
		adv_find(f, ADV_CHECK_BAD,
			 "start the node outside of this container, or as an ordinary user",
			 "the uids %u to %lu of sandboxes do not exist here", ADV_UID_BASE,
			 (unsigned long)ADV_UID_BASE + ADV_SANDBOXES_MAX);
	else
		adv_find(f, ADV_CHECK_OK, NULL, "%u to %lu are for sandboxes", ADV_UID_BASE,
			 (unsigned long)ADV_UID_BASE + ADV_SANDBOXES_MAX);
}

void adv_look_memfd(struct adv_patient *p, struct adv_finding *f)
{
	long long noexec = 0;
	if (adv_patient_number(p, "/proc/sys/vm/memfd_noexec", &noexec) && noexec >= 2)
		adv_find(f, ADV_CHECK_BAD, "sysctl vm.memfd_noexec=1",
			 "programs in memory may not run (vm.memfd_noexec=%lld): the warden is one",
			 noexec);
	else
		adv_find(f, ADV_CHECK_OK, NULL, "programs in memory may run");
}

void adv_look_io_uring(struct adv_patient *p, struct adv_finding *f)
{
	long long disabled = 0;
	adv_patient_number(p, "/proc/sys/kernel/io_uring_disabled", &disabled);
	if (disabled == 2 || (disabled == 1 && p->uid != 0))
		adv_find(f, ADV_CHECK_BAD, "sysctl kernel.io_uring_disabled=0",
			 "io_uring is switched off%s", disabled == 1 ? " for ordinary users" : "");
	else if (disabled == 1)
		adv_find(
			f, ADV_CHECK_BAD,
			"sysctl kernel.io_uring_disabled=0, or add the node's user to the group of "
			"kernel.io_uring_group",
			"io_uring is for root alone, which the node is not when it has started");
	else
		adv_find(f, ADV_CHECK_OK, NULL, "it is not switched off");
}

/* Two a sandbox, six a lease and its connection; the warden has files of its own. */
void adv_look_files(struct adv_patient *p, struct adv_finding *f)
{
	char text[4096], soft[32], hard[32];
	const char *line = NULL;
	if (adv_patient_read(p, "/proc/self/limits", text, sizeof(text)))
		line = strstr(text, "Max open files");
	if (line == NULL || sscanf(line, "Max open files %31s %31s", soft, hard) != 2)
		adv_find(f, ADV_CHECK_BAD, "mount a procfs at /proc",
			 "/proc/self/limits cannot be read");
	else if (strcmp(hard, "unlimited") != 0 && strtoll(hard, NULL, 10) < FILES_WANTED)
		adv_find(f, ADV_CHECK_WEAK, "ulimit -Hn 65536, or LimitNOFILE= of the service",
			 "a process may open %s files: enough for some %lld leases", hard,
			 strtoll(hard, NULL, 10) / 9);
	else
		adv_find(f, ADV_CHECK_OK, NULL, "a process may open %s", hard);
}

/* ---- what makes it quick ---- */

/* A list like "0-3,8" as a number of CPUs. */
static unsigned count_cpus(const char *list)
{
	unsigned n = 0;
	for (const char *at = list; *at != '\0';) {
		char *end;
		long first = strtol(at, &end, 10), last = first;
		if (end == at)
			break;
		if (*end == '-')
			last = strtol(end + 1, &end, 10);
		n += last >= first ? (unsigned)(last - first + 1) : 0;
		at = end + (*end == ',');
	}
	return n;
}

void adv_look_cores(struct adv_patient *p, struct adv_finding *f)
{
	char online[256], isolated[256] = "", tickless[256] = "";
	if (!adv_patient_read(p, "/sys/devices/system/cpu/online", online, sizeof(online))) {
		adv_find(f, ADV_CHECK_BAD, "mount sysfs at /sys",
			 "/sys/devices/system/cpu/online cannot be read");
		return;
	}
	unsigned n = count_cpus(online);
	adv_patient_read(p, "/sys/devices/system/cpu/isolated", isolated, sizeof(isolated));
	adv_patient_read(p, "/sys/devices/system/cpu/nohz_full", tickless, sizeof(tickless));
	if (n <= SMALL_CPUS)
		adv_find(f, ADV_CHECK_WEAK, NULL,
			 "%u CPU%s: workers share them with the node and its callers", n,
			 n == 1 ? "" : "s");
	else if (isolated[0] != '\0')
		adv_find(f, ADV_CHECK_OK, NULL, "%u CPUs; isolated: %s; without ticks: %s", n,
			 isolated, tickless[0] != '\0' ? tickless : "none");
	else
		adv_find(f, ADV_CHECK_OK, NULL,
			 "%u CPUs, none isolated: for the shortest tails boot with isolcpus= and "
			 "nohz_full= for those of [cores] workers",
			 n);
}

void adv_look_clock(struct adv_patient *p, struct adv_finding *f)
{
	char source[64];
	if (!adv_patient_read(p, "/sys/devices/system/clocksource/clocksource0/current_clocksource",
			      source, sizeof(source)))
		adv_find(f, ADV_CHECK_WEAK, "mount sysfs at /sys",
			 "which clock is used is unknown");
	else if (strcmp(source, "tsc") == 0 || strcmp(source, "kvm-clock") == 0 ||
		 strcmp(source, "arch_sys_counter") == 0)
		adv_find(f, ADV_CHECK_OK, NULL, "%s, read without a system call", source);
	else
		adv_find(f, ADV_CHECK_WEAK, "boot with tsc=reliable if the machine's TSC is",
			 "%s: reading the time is a system call, and a call reads it", source);
}

/* Counts the CPUs whose governor is not the one for speed; `other` is one of those. */
static unsigned slow_governors(const struct adv_patient *p, unsigned *total, char *other,
			       size_t size)
{
	unsigned slow = 0;
	*total = 0;
	for (unsigned cpu = 0; cpu < 4096; cpu++) {
		char path[96], governor[64];
		snprintf(path, sizeof(path),
			 "/sys/devices/system/cpu/cpu%u/cpufreq/scaling_governor", cpu);
		if (!adv_patient_read(p, path, governor, sizeof(governor)))
			break;
		++*total;
		if (strcmp(governor, "performance") != 0) {
			slow++;
			snprintf(other, size, "%s", governor);
		}
	}
	return slow;
}

void adv_look_frequency(struct adv_patient *p, struct adv_finding *f)
{
	char other[64] = "";
	unsigned total, slow = slow_governors(p, &total, other, sizeof(other));
	if (total == 0)
		adv_find(f, ADV_CHECK_OK, NULL, "the kernel does not change it");
	else if (slow > 0)
		adv_find(f, ADV_CHECK_WEAK, "cpupower frequency-set -g performance",
			 "%u of %u CPUs have the governor %s: the first calls after a pause are "
			 "slow",
			 slow, total, other);
	else
		adv_find(f, ADV_CHECK_OK, NULL, "all CPUs have the governor performance");
}

void adv_look_huge_pages(struct adv_patient *p, struct adv_finding *f)
{
	char text[256];
	if (!adv_patient_read(p, "/sys/kernel/mm/transparent_hugepage/shmem_enabled", text,
			      sizeof(text)))
		adv_find(f, ADV_CHECK_WEAK, "boot a kernel with CONFIG_TRANSPARENT_HUGEPAGE",
			 "there are none for shared memory: large payloads cost more TLB misses");
	else if (strstr(text, "[never]") != NULL || strstr(text, "[deny]") != NULL)
		adv_find(f, ADV_CHECK_WEAK,
			 "echo advise >/sys/kernel/mm/transparent_hugepage/shmem_enabled",
			 "shared memory gets none: payloads of megabytes cost more TLB misses");
	else
		adv_find(f, ADV_CHECK_OK, NULL, "lanes of 2 MiB and more may have them");
}

void adv_look_swap(struct adv_patient *p, struct adv_finding *f)
{
	char text[4096];
	bool any = adv_patient_read(p, "/proc/swaps", text, sizeof(text)) &&
		   strchr(text, '\n') != NULL;
	if (any)
		adv_find(f, ADV_CHECK_WEAK,
			 "swapoff -a, or cgroup v2 (which keeps sandboxes out of it)",
			 "memory may be swapped out: a call that needs it waits for a disk");
	else
		adv_find(f, ADV_CHECK_OK, NULL, "there is none");
}

/* ---- what leaks ---- */

/* The names of what the kernel says that this machine is open to. */
void adv_look_speculation(struct adv_patient *p, struct adv_finding *f)
{
	char path[1024], names[256] = "", state[256];
	snprintf(path, sizeof(path), "%s/sys/devices/system/cpu/vulnerabilities", p->root);
	struct dirent **list;
	int n = scandir(path, &list, NULL, alphasort);
	if (n < 0) {
		adv_find(f, ADV_CHECK_WEAK, "boot Linux 4.15 or later, with sysfs at /sys",
			 "whether this processor leaks what it guesses is unknown");
		return;
	}
	size_t used = 0;
	for (int i = 0; i < n; i++) {
		snprintf(path, sizeof(path), "/sys/devices/system/cpu/vulnerabilities/%.200s",
			 list[i]->d_name);
		if (list[i]->d_name[0] != '.' && adv_patient_read(p, path, state, sizeof(state)) &&
		    strncmp(state, "Vulnerable", strlen("Vulnerable")) == 0 && used < sizeof(names))
			used += (size_t)snprintf(names + used, sizeof(names) - used, "%s%s",
						 used > 0 ? ", " : "", list[i]->d_name);
		free(list[i]);
	}
	free(list);
	if (used > 0)
		adv_find(f, ADV_CHECK_WEAK,
			 "boot without mitigations=off, and with the processor's newest microcode",
			 "the kernel says that this processor is open to %s", names);
	else
		adv_find(f, ADV_CHECK_OK, NULL, "nothing that the kernel knows of is open");
}
