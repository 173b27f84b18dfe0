/* json.c - JSON as a node sends it: bounded in depth, typed, never trusted. Any thread. */
#include <string.h>

#include "client/internal.h"

/* The parser recurses: text that is nested more deeply than any answer must not reach it. */
static bool depth_ok(const char *text, size_t size)
{
	unsigned depth = 0;
	bool quoted = false;
	for (size_t i = 0; i < size; i++) {
		char c = text[i];
		if (quoted) {
			if (c == '\\')
				i++;
			else if (c == '"')
				quoted = false;
		} else if (c == '"') {
			quoted = true;
		} else if (c == '{' || c == '[') {
			if (++depth > ADV_JSON_DEPTH_MAX)
				return false;
		} else if ((c == '}' || c == ']') && depth > 0) {
			depth--;
		}
	}
	return true;
}

json_t *adv_client_json(const char *text, size_t size)
{
	if (text == NULL || !depth_ok(text, size))
		return NULL;
	json_t *value = json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL);
	if (json_is_object(value))
		return value;
	json_decref(value);
	return NULL;
}

bool adv_client_json_u64(const json_t *object, const char *name, uint64_t max, uint64_t *value)
{
	const json_t *member = json_object_get(object, name);
	if (!json_is_integer(member))
		return false;
	json_int_t n = json_integer_value(member);
	if (n < 0 || (uint64_t)n > max)
		return false;
	*value = (uint64_t)n;
	return true;
}

bool adv_client_json_text(const json_t *object, const char *name, char *text, size_t size)
{
	const json_t *member = json_object_get(object, name);
	size_t length = json_string_length(member);
	if (!json_is_string(member) || length >= size)
		return false;
	memcpy(text, json_string_value(member), length + 1);
	return true;
}

void adv_client_printable(const char *from, char *to, size_t size)
{
	size_t i = 0;
	for (; from[i] != '\0' && i + 1 < size; i++)
		to[i] = (unsigned char)from[i] < 0x20 || from[i] == 0x7f ? ' ' : from[i];
	to[i] = '\0';
}
