/* status.c - texts and names of statuses. Any thread. */
#include "adverb/status.h"

#include <ctype.h>
#include <stddef.h>
#include <string.h>

static const struct {
	unsigned number;
	const char *name; /* ADV_... */
	const char *text;
} statuses[] = {
#define ADV_STATUS_ROW(name, number, text) {number, #name, text},
	ADV_STATUS_LIST(ADV_STATUS_ROW)
#undef ADV_STATUS_ROW
};

#define NR_STATUSES (sizeof(statuses) / sizeof(statuses[0]))

/* Names as in JSON, made from the constants' names without writing each twice: filled by the constructor. */
static char names[NR_STATUSES][32];

__attribute__((constructor)) static void names_fill(void)
{
	for (size_t i = 0; i < NR_STATUSES; i++) {
		const char *from = statuses[i].name + strlen("ADV_");
		size_t n = 0;
		for (; from[n] != '\0' && n < sizeof(names[i]) - 1; n++)
			names[i][n] = (char)tolower((unsigned char)from[n]);
	}
}

const char *adv_status_text(unsigned status)
{
	for (size_t i = 0; i < NR_STATUSES; i++)
		if (statuses[i].number == status)
			return statuses[i].text;
	return "a status that this version does not know";
}

const char *adv_status_name(unsigned status)
{
	for (size_t i = 0; i < NR_STATUSES; i++)
		if (statuses[i].number == status)
			return names[i];
	return "unknown";
}

int adv_status_from_name(const char *name)
{
	for (size_t i = 0; i < NR_STATUSES; i++)
		if (strcmp(names[i], name) == 0)
			return (int)statuses[i].number;
	return -1;
}
