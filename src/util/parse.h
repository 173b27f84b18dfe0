/*
 * parse.h - numbers with units, as typed by people: "64KiB", "10ms", "2-63". Whole string or an error.
 * Any thread. Out parameters are untouched on failure.
 */
#ifndef ADVERB_UTIL_PARSE_H
#define ADVERB_UTIL_PARSE_H

#include <stddef.h>
#include <stdint.h>

/* A decimal number. 0, -EINVAL, -ERANGE. */
int adv_parse_u64(const char *text, uint64_t *value);

/* Bytes: a number with an optional k, K, KiB, M, MiB, G, GiB (all binary) or B. */
int adv_parse_size(const char *text, uint64_t *bytes);

/* A duration with a unit of ns, us, ms, s, m, h; a bare 0 is allowed. In nanoseconds. */
int adv_parse_duration(const char *text, uint64_t *ns);

/* "always" (UINT64_MAX), "never" (0) or a duration, in µs. */
int adv_parse_hot(const char *text, uint64_t *us);

/* A decimal number with up to six digits behind the point, like "0.0125": in millionths. */
int adv_parse_millionths(const char *text, uint64_t *millionths);

/* The other way, for people: "64 KiB", "1.5 ms". Writes into `out` and returns it. */
const char *adv_format_size(uint64_t bytes, char *out, size_t size);
const char *adv_format_duration(uint64_t ns, char *out, size_t size);

#endif
