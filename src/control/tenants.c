/* tenants.c - tenants by token. Read-only after the start; any thread. */
#include "control/tenants.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>

#include "util/parse.h"

#define NAMED_FIRST 0x80000000u /* numbers of tenants without a uid */

static int fail(char *reason, size_t size, const char *name, const char *what)
{
	snprintf(reason, size, "[tenant %s]: %s", name, what);
	return -EINVAL;
}

static bool hash_parse(const char *text, uint8_t hash[ADV_TENANT_HASH_BYTES])
{
	if (strlen(text) != (size_t)2 * ADV_TENANT_HASH_BYTES ||
	    strspn(text, "0123456789abcdefABCDEF") != strlen(text))
		return false;
	for (int i = 0; i < ADV_TENANT_HASH_BYTES; i++) {
		unsigned byte = 0;
		sscanf(text + 2 * i, "%2x", &byte);
		hash[i] = (uint8_t)byte;
	}
	return true;
}

static struct adv_tenant *of_name(struct adv_tenants *t, const char *name)
{
	for (unsigned i = 0; i < t->nr; i++)
		if (strcmp(t->list[i].name, name) == 0)
			return &t->list[i];
	if (t->nr == ADV_TENANTS_MAX)
		return NULL;
	struct adv_tenant *new = &t->list[t->nr++];
	snprintf(new->name, sizeof(new->name), "%s", name);
	return new;
}

static bool name_ok(const char *name)
{
	static const char plain[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
	return name[0] != '\0' && strlen(name) < ADV_NAME_MAX &&
	       strspn(name, plain) == strlen(name);
}

static int read_count(const char *value, uint32_t *to)
{
	uint64_t n;
	if (adv_parse_u64(value, &n) < 0 || n == 0 || n > UINT32_MAX)
		return -EINVAL;
	*to = (uint32_t)n;
	return 0;
}

/* 1: it is no limit's name; -EINVAL: its value is none. */
static int read_limit(struct adv_share_limits *limits, const char *key, const char *value)
{
	if (strcmp(key, "cores") == 0)
		return read_count(value, &limits->cores);
	if (strcmp(key, "leases") == 0)
		return read_count(value, &limits->leases);
	if (strcmp(key, "rate") == 0)
		return read_count(value, &limits->per_second);
	if (strcmp(key, "memory") == 0)
		return adv_parse_size(value, &limits->memory_bytes) < 0 ||
				       limits->memory_bytes < ADV_LEASE_MEMORY_MIN
			       ? -EINVAL
			       : 0;
	return 1;
}

#define LIMIT_WANTS "cores, leases and rate (a second) are numbers from 1, memory a size from 16MiB"

int adv_tenants_limit(struct adv_tenants *t, const char *key, const char *value, char *reason,
		      size_t size)
{
	int rc = read_limit(&t->each, key, value);
	if (rc == 0)
		return 0;
	snprintf(reason, size, "[limits] %.40s = %.40s: %s", key, value, LIMIT_WANTS);
	return -EINVAL;
}

int adv_tenants_set(struct adv_tenants *t, const char *name, const char *key, const char *value,
		    char *reason, size_t size)
{
	uint64_t uid;
	if (!name_ok(name))
		return fail(reason, size, name, "a name has 1 to 63 of letters, digits and -_.");
	struct adv_tenant *tenant = of_name(t, name);
	if (tenant == NULL)
		return fail(reason, size, name, "there are too many tenants");
	if (strcmp(key, "token_sha256") == 0) {
		if (tenant->has_token || !hash_parse(value, tenant->token_sha256))
			return fail(
				reason, size, name,
				"token_sha256 must be 64 hexadecimal digits, once: `adverb token` "
				"makes a token and this line");
		tenant->has_token = true;
		return 0;
	}
	if (strcmp(key, "uid") != 0) {
		int rc = read_limit(&tenant->limits, key, value);
		tenant->has_limits |= rc == 0;
		return rc == 0	? 0
		       : rc < 0 ? fail(reason, size, name, LIMIT_WANTS)
				: fail(reason, size, name,
				       "its keys are token_sha256, uid, cores, memory, leases and "
				       "rate");
	}
	if (tenant->has_number || adv_parse_u64(value, &uid) < 0 || uid == 0 || uid >= NAMED_FIRST)
		return fail(reason, size, name,
			    "uid must be a local user's number, once, and not 0");
	tenant->number = (uint32_t)uid;
	tenant->has_number = true;
	return 0;
}

static uint32_t number_of_name(const char *name)
{
	uint8_t hash[SHA256_DIGEST_LENGTH];
	uint32_t number;
	SHA256((const uint8_t *)name, strlen(name), hash);
	memcpy(&number, hash, sizeof(number));
	return NAMED_FIRST | (number & 0x7ffffffe); /* never ADV_TENANT_NOBODY */
}

int adv_tenants_check(struct adv_tenants *t, char *reason, size_t size)
{
	for (unsigned i = 0; i < t->nr; i++) {
		struct adv_tenant *a = &t->list[i];
		if (!a->has_token && !a->has_number)
			return fail(reason, size, a->name,
				    "token_sha256 is missing, or for a local user uid");
		if (!a->has_number)
			a->number = number_of_name(a->name);
		for (unsigned k = 0; k < i; k++) {
			const struct adv_tenant *b = &t->list[k];
			char what[160];
			snprintf(what, sizeof(what), "has the %s of [tenant %s]",
				 a->number == b->number ? "number (by uid or by name)" : "token",
				 b->name);
			bool tokens = a->has_token && b->has_token;
			if (a->number == b->number ||
			    (tokens && memcmp(a->token_sha256, b->token_sha256,
					      sizeof(a->token_sha256)) == 0))
				return fail(reason, size, a->name, what);
		}
	}
	return 0;
}

const struct adv_tenant *adv_tenants_find(const struct adv_tenants *t, const char *token)
{
	uint8_t hash[SHA256_DIGEST_LENGTH];
	const struct adv_tenant *found = NULL;
	SHA256((const uint8_t *)token, strlen(token), hash);
	for (unsigned i = 0; i < t->nr; i++)
		if (CRYPTO_memcmp(hash, t->list[i].token_sha256, sizeof(hash)) == 0 &&
		    t->list[i].has_token)
			found = &t->list[i];
	return found;
}

const char *adv_tenants_name(const struct adv_tenants *t, uint32_t number)
{
	for (unsigned i = 0; t != NULL && i < t->nr; i++)
		if (t->list[i].number == number)
			return t->list[i].name;
	return NULL;
}
