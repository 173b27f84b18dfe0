/* caps.c - giving up capabilities. Runs in a sandbox before its filter, and in the node once. */
#include "sandbox/caps.h"

#include <errno.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CAPS_MAX 64 /* the sets have 64 bits */

/* A kernel that is newer than its headers here has more than CAP_LAST_CAP; one that is older than them does not run Adverb. */
int adv_caps_empty_bounding_set(void)
{
	for (int cap = 0; cap < CAPS_MAX; cap++)
		if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0) {
			if (errno == EINVAL && cap > CAP_LAST_CAP)
				return 0;
			return -errno;
		}
	return 0;
}

int adv_caps_drop(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[2], left[2];
	memset(none, 0, sizeof(none));
	memset(left, 0xff, sizeof(left));
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 ||
	    syscall(SYS_capset, &header, none) < 0 || syscall(SYS_capget, &header, left) < 0)
		return -errno;
	return memcmp(left, none, sizeof(left)) == 0 ? 0 : -EPERM;
}
