/* checks.c - the table of checks, and what they share. Main thread. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "doctor/doctor.h"
#include "util/fd.h"

static const struct adv_check checks[] = {
	{"configuration", adv_try_configuration, true},
	{"kernel", adv_look_kernel, false},
	{"user namespaces", adv_look_userns, false},
	{"uids", adv_look_uid_map, false},
	{"memfd", adv_look_memfd, false},
	{"io_uring", adv_look_io_uring, false},
	{"open files", adv_look_files, false},
	{"io_uring works", adv_try_ring, true},
	{"sandbox works", adv_try_sandbox, true},
	{"hostile tenants", NULL, true, "uids"},
	{"memory limit", NULL, true, "memory limit"},
	{"cpu limit", NULL, true, "cpu limit"},
	{"freezer", NULL, true, "freezer"},
	{"Landlock", NULL, true, "Landlock"},
	{"core scheduling", NULL, true, "core scheduling"},
	{"speculation", adv_look_speculation, false},
	{"cores", adv_look_cores, false},
	{"clock", adv_look_clock, false},
	{"frequency", adv_look_frequency, false},
	{"huge pages", adv_look_huge_pages, false},
	{"swap", adv_look_swap, false},
	{"RDMA", adv_try_devices, true},
	{"node", adv_try_node, true},
};

const struct adv_check *adv_check_at(size_t index)
{
	return index < sizeof(checks) / sizeof(checks[0]) ? &checks[index] : NULL;
}

void adv_check_make(const struct adv_check *check, struct adv_patient *patient,
		    struct adv_finding *finding)
{
	if (check->wall != NULL)
		adv_try_wall(patient, finding, check->wall);
	else
		check->look(patient, finding);
}

const char *adv_verdict_name(enum adv_verdict verdict)
{
	static const char *const names[] = {"ok", "weak", "bad"};
	return names[verdict];
}

void adv_find(struct adv_finding *f, enum adv_verdict verdict, const char *remedy,
	      const char *format, ...)
{
	va_list args;
	f->verdict = verdict;
	va_start(args, format);
	vsnprintf(f->text, sizeof(f->text), format, args);
	va_end(args);
	snprintf(f->remedy, sizeof(f->remedy), "%s", remedy != NULL ? remedy : "");
}

bool adv_patient_read(const struct adv_patient *p, const char *path, char *text, size_t size)
{
	char full[1024];
	text[0] = '\0';
	if (snprintf(full, sizeof(full), "%s%s", p->root, path) >= (int)sizeof(full))
		return false;
	ADV_CLEANUP_FD int fd = open(full, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);
	if (n < 0)
		return false;
	while (n > 0 && text[n - 1] == '\n')
		n--;
	text[n] = '\0';
	return true;
}

bool adv_patient_number(const struct adv_patient *p, const char *path, long long *number)
{
	char text[64], *end;
	if (!adv_patient_read(p, path, text, sizeof(text)))
		return false;
	errno = 0;
	*number = strtoll(text, &end, 10);
	return end != text && *end == '\0' && errno == 0;
}
