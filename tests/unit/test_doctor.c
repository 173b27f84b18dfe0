/* test_doctor.c - what is concluded from the files of a machine, which lie in a directory of the test; and the texts of the walls. */
#include <criterion/criterion.h>
#include <string.h>

#include "doctor/doctor.h"
#include "scratch.h"

static struct adv_patient patient;
static struct adv_finding finding;

static void begin(void)
{
	scratch_make();
	patient = (struct adv_patient){.root = scratch_dir, .uid = 1000};
}

TestSuite(doctor, .init = begin, .fini = scratch_remove);

/* Writes a file of that machine; its directories too. */
static void has(const char *path, const char *text)
{
	char full[512];
	snprintf(full, sizeof(full), "%s", scratch_path(path + 1));
	for (char *p = strchr(full + strlen(scratch_dir) + 1, '/'); p != NULL;
	     p = strchr(p + 1, '/')) {
		*p = '\0';
		mkdir(full, 0700);
		*p = '/';
	}
	scratch_write(path + 1, text, strlen(text));
}

typedef void look(struct adv_patient *, struct adv_finding *);

static void finds(look *l, enum adv_verdict verdict, const char *words, const char *remedy)
{
	memset(&finding, 'x', sizeof(finding));
	l(&patient, &finding);
	cr_assert_eq(finding.verdict, verdict, "%s: %s", adv_verdict_name(finding.verdict),
		     finding.text);
	cr_assert_not_null(strstr(finding.text, words), "%s", finding.text);
	if (remedy == NULL)
		cr_assert_str_empty(finding.remedy);
	else
		cr_assert_not_null(strstr(finding.remedy, remedy), "%s", finding.remedy);
}

#define OK   ADV_CHECK_OK
#define WEAK ADV_CHECK_WEAK
#define BAD  ADV_CHECK_BAD

Test(doctor, kernel)
{
	finds(adv_look_kernel, BAD, "cannot be read", "procfs");
	has("/proc/sys/kernel/osrelease", "5.11.22-generic\n");
	finds(adv_look_kernel, BAD, "5.11.22-generic", "5.12");
	has("/proc/sys/kernel/osrelease", "4.19.0\n");
	finds(adv_look_kernel, BAD, "4.19.0", "5.12");
	has("/proc/sys/kernel/osrelease", "5.12.0\n");
	finds(adv_look_kernel, OK, "5.12.0", NULL);
	has("/proc/sys/kernel/osrelease", "6.1.0-18-amd64\n");
	finds(adv_look_kernel, OK, "Linux 6.1.0-18-amd64", NULL);
	has("/proc/sys/kernel/osrelease", "nonsense\n");
	finds(adv_look_kernel, BAD, "cannot be read", "procfs");
}

Test(doctor, user_namespaces)
{
	finds(adv_look_userns, BAD, "no user namespaces", "CONFIG_USER_NS");
	has("/proc/sys/user/max_user_namespaces", "0\n");
	finds(adv_look_userns, BAD, "switched off", "max_user_namespaces=");
	has("/proc/sys/user/max_user_namespaces", "4711\n");
	finds(adv_look_userns, OK, "4711", NULL);
	has("/proc/sys/kernel/unprivileged_userns_clone", "0\n");
	finds(adv_look_userns, BAD, "only root", "unprivileged_userns_clone=1");
	patient.uid = 0;
	finds(adv_look_userns, OK, "4711", NULL);
	patient.uid = 1000;
	has("/proc/sys/kernel/unprivileged_userns_clone", "1\n");
	has("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1\n");
	finds(adv_look_userns, BAD, "AppArmor", "apparmor_restrict");
}

/* In a container that has but its own ids there are none for sandboxes. */
Test(doctor, uids)
{
	finds(adv_look_uid_map, OK, "the user's own", NULL);
	patient.uid = 0;
	finds(adv_look_uid_map, BAD, "do not exist", "container");
	has("/proc/self/uid_map", "         0     100000      65536\n");
	finds(adv_look_uid_map, BAD, "do not exist", "container");
	has("/proc/self/uid_map",
	    "         0     100000      65536\n     70000          0 4294900000\n");
	finds(adv_look_uid_map, OK, "1879048192 to 1879056384", NULL);
	has("/proc/self/uid_map", "         0          0 4294967295\n");
	finds(adv_look_uid_map, OK, "for sandboxes", NULL);
	has("/proc/self/uid_map", "         0          0 1879056384\n");
	finds(adv_look_uid_map, BAD, "do not exist", "container");
}

Test(doctor, memfd)
{
	finds(adv_look_memfd, OK, "may run", NULL);
	has("/proc/sys/vm/memfd_noexec", "1\n");
	finds(adv_look_memfd, OK, "may run", NULL);
	has("/proc/sys/vm/memfd_noexec", "2\n");
	finds(adv_look_memfd, BAD, "may not run", "memfd_noexec=1");
}

Test(doctor, io_uring)
{
	finds(adv_look_io_uring, OK, "not switched off", NULL);
	has("/proc/sys/kernel/io_uring_disabled", "1\n");
	finds(adv_look_io_uring, BAD, "for ordinary users", "io_uring_disabled=0");
	patient.uid = 0;
	finds(adv_look_io_uring, BAD, "which the node is not", "io_uring_group");
	has("/proc/sys/kernel/io_uring_disabled", "2\n");
	finds(adv_look_io_uring, BAD, "switched off", "io_uring_disabled=0");
}

Test(doctor, open_files)
{
	finds(adv_look_files, BAD, "cannot be read", "procfs");
	has("/proc/self/limits",
	    "Limit Soft Hard Units\nMax open files            1024         1024    files\n");
	finds(adv_look_files, WEAK, "1024 files: enough for some 113 leases", "LimitNOFILE=");
	has("/proc/self/limits", "Max open files            1024         524288    files\n");
	finds(adv_look_files, OK, "524288", NULL);
	has("/proc/self/limits", "Max open files            1024         unlimited    files\n");
	finds(adv_look_files, OK, "unlimited", NULL);
}

Test(doctor, cores)
{
	finds(adv_look_cores, BAD, "cannot be read", "sysfs");
	has("/sys/devices/system/cpu/online", "0\n");
	finds(adv_look_cores, WEAK, "1 CPU: workers share", NULL);
	has("/sys/devices/system/cpu/online", "0-1\n");
	finds(adv_look_cores, WEAK, "2 CPUs: workers share", NULL);
	has("/sys/devices/system/cpu/online", "0-31,64-95,97\n");
	finds(adv_look_cores, OK, "65 CPUs, none isolated", NULL);
	has("/sys/devices/system/cpu/isolated", "2-31\n");
	has("/sys/devices/system/cpu/nohz_full", "2-30\n");
	finds(adv_look_cores, OK, "isolated: 2-31; without ticks: 2-30", NULL);
}

Test(doctor, clock)
{
	const char *path = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
	finds(adv_look_clock, WEAK, "unknown", "sysfs");
	has(path, "tsc\n");
	finds(adv_look_clock, OK, "tsc", NULL);
	has(path, "hpet\n");
	finds(adv_look_clock, WEAK, "hpet", "tsc=reliable");
}

Test(doctor, frequency)
{
	finds(adv_look_frequency, OK, "does not change", NULL);
	has("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "performance\n");
	has("/sys/devices/system/cpu/cpu1/cpufreq/scaling_governor", "performance\n");
	finds(adv_look_frequency, OK, "performance", NULL);
	has("/sys/devices/system/cpu/cpu1/cpufreq/scaling_governor", "powersave\n");
	finds(adv_look_frequency, WEAK, "1 of 2 CPUs have the governor powersave", "cpupower");
}

Test(doctor, huge_pages)
{
	const char *path = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";
	finds(adv_look_huge_pages, WEAK, "none for shared memory", "CONFIG_TRANSPARENT_HUGEPAGE");
	has(path, "always within_size advise [never] deny force\n");
	finds(adv_look_huge_pages, WEAK, "gets none", "advise");
	has(path, "always within_size [advise] never deny force\n");
	finds(adv_look_huge_pages, OK, "2 MiB", NULL);
}

Test(doctor, swap)
{
	finds(adv_look_swap, OK, "none", NULL);
	has("/proc/swaps", "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n");
	finds(adv_look_swap, OK, "none", NULL);
	has("/proc/swaps", "Filename Type Size Used Priority\n/dev/sda2 partition 1000 0 -2\n");
	finds(adv_look_swap, WEAK, "swapped out", "swapoff");
}

Test(doctor, speculation)
{
	finds(adv_look_speculation, WEAK, "unknown", "4.15");
	has("/sys/devices/system/cpu/vulnerabilities/l1tf", "Not affected\n");
	has("/sys/devices/system/cpu/vulnerabilities/spectre_v2", "Mitigation: Retpolines\n");
	finds(adv_look_speculation, OK, "nothing", NULL);
	has("/sys/devices/system/cpu/vulnerabilities/mds", "Vulnerable; SMT vulnerable\n");
	has("/sys/devices/system/cpu/vulnerabilities/srbds", "Vulnerable: No microcode\n");
	finds(adv_look_speculation, WEAK, "open to mds, srbds", "microcode");
}

/* ---- the table, and the walls ---- */

Test(doctor, each_check_has_a_name_of_its_own)
{
	const struct adv_check *a, *b;
	for (size_t i = 0; (a = adv_check_at(i)) != NULL; i++) {
		cr_assert_leq(strlen(a->name), 16, "%s", a->name);
		for (size_t k = 0; k < i && (b = adv_check_at(k)) != NULL; k++)
			cr_assert_str_neq(a->name, b->name);
	}
}

static unsigned standing(const struct adv_warden_facts *facts, unsigned *all)
{
	const struct adv_wall *w;
	unsigned n = 0;
	for (*all = 0; (w = adv_wall_at(*all)) != NULL; ++*all) {
		cr_assert(w->good[0] != '\0' && w->weak[0] != '\0' && w->remedy[0] != '\0');
		n += w->stands(facts);
	}
	return n;
}

Test(doctor, walls)
{
	unsigned all;
	struct adv_warden_facts facts = {0};
	cr_assert_eq(standing(&facts, &all), 0);
	cr_assert_gt(all, 5);
	facts = (struct adv_warden_facts){.root = 1,
					  .landlock_abi = 4,
					  .cgroup_memory = 1,
					  .cgroup_cpu = 1,
					  .cgroup_cpuset = 1,
					  .cgroup_freeze = 1,
					  .core_scheduling = ADV_CORE_SCHEDULING_ON};
	cr_assert_eq(standing(&facts, &all), all);
	facts.core_scheduling = ADV_CORE_SCHEDULING_OFF;
	facts.root = 0;
	cr_assert_eq(standing(&facts, &all), all - 2);
	cr_assert_str_eq(adv_core_scheduling_name(ADV_CORE_SCHEDULING_ON), "on");
	cr_assert_str_eq(adv_core_scheduling_name(77), "unknown");
}
