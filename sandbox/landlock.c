/* landlock.c - the three Landlock calls. Runs in a sandbox, before its seccomp filter. */
#include "sandbox/landlock.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "util/fd.h"

/* The same numbers on every architecture; older headers lack them. */
#define CREATE_RULESET 444
#define ADD_RULE       445
#define RESTRICT_SELF  446
#define CREATE_VERSION 1u
#define RULE_PATH      1
#define ACCESS_READ    (UINT64_C(3) << 2) /* files and directories */
#define ACCESS_NET     UINT64_C(3)	  /* bind and connect, ABI 4 */
#define ACCESS_SCOPED  UINT64_C(3)	  /* abstract Unix sockets and signals, ABI 6 */

struct ruleset {
	uint64_t fs;
	uint64_t net;	 /* ABI 4 */
	uint64_t scoped; /* ABI 6 */
};

struct path_rule {
	uint64_t allowed;
	int32_t parent;
} __attribute__((packed));

uint32_t adv_landlock_abi(void)
{
	long abi = syscall(CREATE_RULESET, NULL, 0, CREATE_VERSION);
	return abi < 0 ? 0 : (uint32_t)abi;
}

/* Every file system right that this ABI knows. */
static uint64_t all_of_fs(uint32_t abi)
{
	unsigned bits = 13;
	if (abi >= 2)
		bits = 14; /* refer */
	if (abi >= 3)
		bits = 15; /* truncate */
	if (abi >= 5)
		bits = 16; /* ioctl on devices */
	return (UINT64_C(1) << bits) - 1;
}

int adv_landlock_restrict(uint32_t abi, const char *readable)
{
	const struct ruleset rules = {
		.fs = all_of_fs(abi), .net = ACCESS_NET, .scoped = ACCESS_SCOPED};
	size_t size = sizeof(rules);
	if (abi < 6)
		size = offsetof(struct ruleset, scoped);
	if (abi < 4)
		size = offsetof(struct ruleset, net);
	ADV_CLEANUP_FD int set = (int)syscall(CREATE_RULESET, &rules, size, 0);
	if (set < 0)
		return -errno;
	if (readable != NULL) {
		ADV_CLEANUP_FD int dir = open(readable, O_PATH | O_DIRECTORY | O_CLOEXEC);
		const struct path_rule rule = {.allowed = ACCESS_READ, .parent = dir};
		if (dir < 0 || syscall(ADD_RULE, set, RULE_PATH, &rule, 0) < 0)
			return -errno;
	}
	return syscall(RESTRICT_SELF, set, 0) < 0 ? -errno : 0;
}
