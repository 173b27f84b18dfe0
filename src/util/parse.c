/* parse.c - numbers with units. Any thread. */
#include "util/parse.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "util/limits.h"

/* Reads digits; returns what follows them, NULL when there is no digit or too many. */
static const char *digits(const char *text, uint64_t *value, int *error)
{
	if (!isdigit((unsigned char)*text)) {
		*error = -EINVAL;
		return NULL;
	}
	uint64_t sum = 0;
	for (; isdigit((unsigned char)*text); text++) {
		if (__builtin_mul_overflow(sum, UINT64_C(10), &sum) ||
		    __builtin_add_overflow(sum, (uint64_t)(*text - '0'), &sum)) {
			*error = -ERANGE;
			return NULL;
		}
	}
	*value = sum;
	return text;
}

struct unit {
	const char *name;
	uint64_t factor;
};

static int with_unit(const char *text, const struct unit *units, uint64_t *value)
{
	uint64_t number;
	int error = 0;
	const char *rest = digits(text, &number, &error);
	if (rest == NULL)
		return error;
	while (*rest == ' ')
		rest++;
	for (const struct unit *u = units; u->name != NULL; u++) {
		if (strcmp(rest, u->name) != 0)
			continue;
		if (__builtin_mul_overflow(number, u->factor, &number))
			return -ERANGE;
		*value = number;
		return 0;
	}
	return -EINVAL;
}

int adv_parse_u64(const char *text, uint64_t *value)
{
	static const struct unit none[] = {{"", 1}, {NULL, 0}};
	return with_unit(text, none, value);
}

int adv_parse_size(const char *text, uint64_t *bytes)
{
	static const struct unit units[] = {
		{"", 1},	  {"B", 1},	  {"k", ADV_KIB},   {"K", ADV_KIB},
		{"KiB", ADV_KIB}, {"M", ADV_MIB}, {"MiB", ADV_MIB}, {"G", ADV_GIB},
		{"GiB", ADV_GIB}, {NULL, 0},
	};
	return with_unit(text, units, bytes);
}

int adv_parse_duration(const char *text, uint64_t *ns)
{
	static const struct unit units[] = {
		{"ns", 1},	{"us", ADV_US},	     {"µs", ADV_US},	    {"ms", ADV_MS},
		{"s", ADV_SEC}, {"m", 60 * ADV_SEC}, {"h", 3600 * ADV_SEC}, {NULL, 0},
	};
	if (strcmp(text, "0") == 0) {
		*ns = 0;
		return 0;
	}
	return with_unit(text, units, ns);
}

int adv_parse_hot(const char *text, uint64_t *us)
{
	uint64_t ns;
	if (strcmp(text, "always") == 0) {
		*us = UINT64_MAX;
		return 0;
	}
	if (strcmp(text, "never") == 0) {
		*us = 0;
		return 0;
	}
	int rc = adv_parse_duration(text, &ns);
	if (rc == 0)
		*us = ns / ADV_US;
	return rc;
}

const char *adv_format_size(uint64_t bytes, char *out, size_t size)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
	unsigned unit = 0;
	double value = (double)bytes;
	while (value >= 1024 && unit < 4) {
		value /= 1024;
		unit++;
	}
	snprintf(out, size, value == (double)(uint64_t)value ? "%.0f %s" : "%.1f %s", value,
		 units[unit]);
	return out;
}

const char *adv_format_duration(uint64_t ns, char *out, size_t size)
{
	static const char *const units[] = {"ns", "us", "ms", "s"};
	unsigned unit = 0;
	double value = (double)ns;
	while (value >= 999.5 && unit < 3) {
		value /= 1000;
		unit++;
	}
	snprintf(out, size, value >= 99.95 ? "%.0f %s" : "%.3g %s", value, units[unit]);
	return out;
}

int adv_parse_millionths(const char *text, uint64_t *millionths)
{
	uint64_t whole = 0, part = 0, all;
	char before[24], behind[8] = "000000";
	const char *point = strchr(text, '.');
	size_t n = point != NULL ? (size_t)(point - text) : strlen(text);
	size_t digits = point != NULL ? strlen(point + 1) : 0;
	if (n == 0 || n >= sizeof(before) || digits > 6 || (point != NULL && digits == 0))
		return -EINVAL;
	memcpy(before, text, n);
	before[n] = '\0';
	if (point != NULL)
		memcpy(behind, point + 1, digits);
	int rc = adv_parse_u64(before, &whole);
	if (rc == 0)
		rc = adv_parse_u64(behind, &part);
	if (rc < 0)
		return rc;
	if (__builtin_mul_overflow(whole, UINT64_C(1000000), &all) ||
	    __builtin_add_overflow(all, part, &all))
		return -ERANGE;
	*millionths = all;
	return 0;
}
