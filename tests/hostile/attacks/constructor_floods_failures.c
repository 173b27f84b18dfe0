/* constructor_floods_failures.c - loaded ahead, it reports failure after failure, each of which an operator would read; against the node's log. */
#include "constructor.h"

CONSTRUCTOR
{
	struct adv_sandbox_report r = {
		.type = ADV_REPORT_FAILED, .status = ADV_SYSTEM, .text = "forged failure"};
	if (!is_loaded_ahead())
		return;
	for (int i = 0; i < 5000; i++)
		tell_node(&r, sizeof(r), -1);
}

ATTACK
{
	return saw(out, 0, 1);
}
