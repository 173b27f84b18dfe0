/* constructor_forges_failure.c - says that the machine has failed it, in the node's words; against the node's belief. */
#include "constructor.h"

CONSTRUCTOR
{
	struct adv_sandbox_report r = {.type = ADV_REPORT_FAILED,
				       .status = UINT32_MAX,
				       .error = 5,
				       .text = "forged reason"};
	tell_node(&r, sizeof(r), -1);
}

ATTACK
{
	return 0;
}
