/*
 * speculation.c - what a process can ask the processor not to guess while it runs (Linux 4.17,
 * Documentation/userspace-api/spec_ctrl.rst): so that nothing it leaves behind trains, or reads, what runs next on that core.
 */
#include <errno.h>
#include <linux/prctl.h>
#include <sys/prctl.h>

#include "sandbox/proto.h"
#include "sandbox/speculation.h"

static const struct {
	uint32_t bit; /* enum adv_speculation */
	unsigned long which;
} kinds[] = {
	{ADV_SPECULATION_STORE_BYPASS, PR_SPEC_STORE_BYPASS},
	{ADV_SPECULATION_INDIRECT_BRANCH, PR_SPEC_INDIRECT_BRANCH},
};

/* Where the kernel decides for all processes at once, or the processor is not affected, there is nothing to switch. */
uint32_t adv_speculation_controls(void)
{
	uint32_t found = 0;
	for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		int state = prctl(PR_GET_SPECULATION_CTRL, kinds[i].which, 0, 0, 0);
		if (state > 0 && (state & PR_SPEC_PRCTL) != 0)
			found |= kinds[i].bit;
	}
	return found;
}

int adv_speculation_restrict(uint32_t controls)
{
	for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if ((controls & kinds[i].bit) != 0 &&
		    prctl(PR_SET_SPECULATION_CTRL, kinds[i].which, PR_SPEC_FORCE_DISABLE, 0, 0) < 0)
			return -errno;
	return 0;
}
