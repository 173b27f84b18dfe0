/* constructor_floods_reports.c - twenty thousand reports that mean nothing any more; against the time of the control thread. */
#include "constructor.h"

CONSTRUCTOR
{
	struct adv_sandbox_report r = {.type = ADV_REPORT_CONFINED};
	for (int i = 0; i < 20000; i++)
		tell_node(&r, sizeof(r), -1);
}

ATTACK
{
	return saw(out, 0, 1);
}
