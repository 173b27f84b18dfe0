/* constructor_endless_text.c - a report whose texts have no end; against a node that reads on. */
#include "constructor.h"

CONSTRUCTOR
{
	struct adv_sandbox_report r = {.type = ADV_REPORT_FUNCTION, .nr_functions = 1};
	memset(r.name, 'n', sizeof(r.name));
	memset(r.text, 't', sizeof(r.text));
	tell_node(&r, sizeof(r), -1);
}

ATTACK
{
	return 0;
}
