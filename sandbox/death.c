/* death.c - from how a process ended to what its caller is told. Any thread. */
#include <signal.h>
#include <sys/wait.h>

#include "sandbox/proto.h"

/* Signals: the seccomp filter's, memory's, the node's own, and the function's. */
static enum adv_status killed_status(const struct adv_death *death)
{
	if (death->status == SIGSYS)
		return ADV_DENIED;
	if (death->out_of_memory != 0)
		return ADV_OUT_OF_MEMORY;
	if (death->killed != 0 && death->status == SIGKILL)
		return ADV_WORKER_LOST;
	return ADV_CRASHED;
}

static enum adv_status exited_status(const struct adv_death *death, uint32_t *detail)
{
	switch (death->status) {
	case ADV_EXIT_ABORTED:
		*detail = SIGABRT;
		return ADV_CRASHED;
	case ADV_EXIT_OUT_OF_MEMORY:
		return ADV_OUT_OF_MEMORY;
	case ADV_EXIT_CONFINEMENT:
	case ADV_EXIT_LANE:
		return ADV_LOAD_FAILED;
	default:
		return ADV_EXITED;
	}
}

enum adv_status adv_death_status(const struct adv_death *death, uint32_t *detail)
{
	*detail = (uint32_t)death->status;
	if (death->code == CLD_EXITED)
		return exited_status(death, detail);
	if (death->code == CLD_KILLED || death->code == CLD_DUMPED)
		return killed_status(death);
	return ADV_WORKER_LOST;
}
