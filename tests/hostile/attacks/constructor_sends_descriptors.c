/* constructor_sends_descriptors.c - sends the node a hundred descriptors with reports that are well made; against its table of descriptors. */
#include "constructor.h"

CONSTRUCTOR
{
	struct adv_sandbox_report r = {.type = ADV_REPORT_CONFINED};
	for (int i = 0; i < 100; i++)
		tell_node(&r, sizeof(r), STDERR_FILENO);
}

ATTACK
{
	return saw(out, 0, 1);
}
