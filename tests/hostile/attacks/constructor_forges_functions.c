/* constructor_forges_functions.c - reports functions that it has not, and that it is loaded; it may lie about itself, and is found out. */
#include "constructor.h"

CONSTRUCTOR
{
	struct adv_sandbox_report r = {.type = ADV_REPORT_FUNCTION, .nr_functions = 2};
	memcpy(r.name, "no_such_thing", 14);
	tell_node(&r, sizeof(r), -1);
	memcpy(r.name, "answer", 7);
	tell_node(&r, sizeof(r), -1);
	r.type = ADV_REPORT_LOADED;
	r.threads = 1;
	tell_node(&r, sizeof(r), -1);
}

ATTACK
{
	return 0;
}
