/* test_parse.c - numbers with units: what is taken, what is refused, and that a refusal leaves the output alone. */
#include <criterion/criterion.h>
#include <errno.h>
#include <inttypes.h>

#include "util/limits.h"
#include "util/parse.h"

#define UNTOUCHED UINT64_C(0xabcdef)

typedef int parse_fn(const char *text, uint64_t *value);

struct row {
	const char *text;
	int rc;
	uint64_t value;
};

static void check(parse_fn *parse, const struct row *rows, size_t nr)
{
	for (size_t i = 0; i < nr; i++) {
		uint64_t value = UNTOUCHED;
		int rc = parse(rows[i].text, &value);
		cr_assert_eq(rc, rows[i].rc, "\"%s\": %d", rows[i].text, rc);
		cr_assert_eq(value, rc == 0 ? rows[i].value : UNTOUCHED, "\"%s\": %" PRIu64,
			     rows[i].text, value);
	}
}

#define CHECK(parse, rows) check(parse, rows, sizeof(rows) / sizeof((rows)[0]))

Test(parse, u64)
{
	const struct row rows[] = {
		{"0", 0, 0},
		{"7", 0, 7},
		{"00042", 0, 42},
		{"18446744073709551615", 0, UINT64_MAX},
		{"18446744073709551616", -ERANGE, 0},
		{"99999999999999999999999999", -ERANGE, 0},
		{"", -EINVAL, 0},
		{" 1", -EINVAL, 0},
		{"-1", -EINVAL, 0},
		{"+1", -EINVAL, 0},
		{"0x10", -EINVAL, 0},
		{"1.5", -EINVAL, 0},
		{"1e3", -EINVAL, 0},
		{"12a", -EINVAL, 0},
		{"1 2", -EINVAL, 0},
		{"ten", -EINVAL, 0},
	};
	CHECK(adv_parse_u64, rows);
}

Test(parse, size)
{
	const struct row rows[] = {
		{"0", 0, 0},
		{"1", 0, 1},
		{"1B", 0, 1},
		{"1k", 0, ADV_KIB},
		{"1K", 0, ADV_KIB},
		{"64KiB", 0, 64 * ADV_KIB},
		{"64 KiB", 0, 64 * ADV_KIB},
		{"3M", 0, 3 * ADV_MIB},
		{"3MiB", 0, 3 * ADV_MIB},
		{"2G", 0, 2 * ADV_GIB},
		{"2GiB", 0, 2 * ADV_GIB},
		{"17179869183G", 0, UINT64_C(17179869183) << 30},
		{"17179869184G", -ERANGE, 0},
		{"18446744073709551616", -ERANGE, 0},
		{"1T", -EINVAL, 0},
		{"1kib", -EINVAL, 0},
		{"1KB", -EINVAL, 0},
		{"1KiBx", -EINVAL, 0},
		{"1.5K", -EINVAL, 0},
		{"KiB", -EINVAL, 0},
		{"-1K", -EINVAL, 0},
		{"", -EINVAL, 0},
	};
	CHECK(adv_parse_size, rows);
}

Test(parse, duration)
{
	const struct row rows[] = {
		{"0", 0, 0},
		{"0s", 0, 0},
		{"1ns", 0, 1},
		{"5us", 0, 5 * ADV_US},
		{"5\302\265s", 0, 5 * ADV_US},
		{"10ms", 0, 10 * ADV_MS},
		{"10 ms", 0, 10 * ADV_MS},
		{"2s", 0, 2 * ADV_SEC},
		{"3m", 0, 180 * ADV_SEC},
		{"24h", 0, 86400 * ADV_SEC},
		{"18446744073s", 0, 18446744073 * ADV_SEC},
		{"18446744074s", -ERANGE, 0},
		{"5", -EINVAL, 0},
		{"5d", -EINVAL, 0},
		{"5S", -EINVAL, 0},
		{"5msx", -EINVAL, 0},
		{"ms", -EINVAL, 0},
		{"-5ms", -EINVAL, 0},
		{"", -EINVAL, 0},
	};
	CHECK(adv_parse_duration, rows);
}

Test(parse, hot)
{
	const struct row rows[] = {
		{"always", 0, UINT64_MAX}, {"never", 0, 0},	{"0", 0, 0},
		{"1ms", 0, 1000},	   {"2500ns", 0, 2},	{"Always", -EINVAL, 0},
		{"always ", -EINVAL, 0},   {"100", -EINVAL, 0}, {"", -EINVAL, 0},
	};
	CHECK(adv_parse_hot, rows);
}

static void shows_size(uint64_t bytes, const char *text)
{
	char out[32];
	cr_assert_eq(adv_format_size(bytes, out, sizeof(out)), out);
	cr_assert_str_eq(out, text);
}

Test(parse, format_size)
{
	shows_size(0, "0 B");
	shows_size(1023, "1023 B");
	shows_size(ADV_KIB, "1 KiB");
	shows_size(ADV_KIB + 512, "1.5 KiB");
	shows_size(64 * ADV_MIB, "64 MiB");
	shows_size(3 * ADV_GIB, "3 GiB");
	shows_size(ADV_GIB << 10, "1 TiB");
	shows_size(UINT64_MAX, "16777216 TiB");
}

static void shows_duration(uint64_t ns, const char *text)
{
	char out[32];
	cr_assert_eq(adv_format_duration(ns, out, sizeof(out)), out);
	cr_assert_str_eq(out, text);
}

Test(parse, format_duration)
{
	shows_duration(0, "0 ns");
	shows_duration(999, "999 ns");
	shows_duration(ADV_US, "1 us");
	shows_duration(1500, "1.5 us");
	shows_duration(10 * ADV_MS, "10 ms");
	shows_duration(60 * ADV_SEC, "60 s");
}

/* No exponent for people to decode. */
Test(parse, format_duration_large)
{
	char out[32];
	const uint64_t durations[] = {999999, 999999999, 3600 * ADV_SEC, 86400 * ADV_SEC};
	for (size_t i = 0; i < sizeof(durations) / sizeof(durations[0]); i++)
		cr_expect_null(strchr(adv_format_duration(durations[i], out, sizeof(out)), 'e'),
			       "%" PRIu64 " ns: %s", durations[i], out);
}

/* A buffer that is too small cuts the text and ends it. */
Test(parse, format_cuts)
{
	char out[5] = "xxxx";
	adv_format_size(64 * ADV_MIB, out, sizeof(out) - 1);
	cr_assert_str_eq(out, "64 ");
	adv_format_duration(10 * ADV_MS, out, 3);
	cr_assert_str_eq(out, "10");
}

Test(parse, millionths)
{
	static const struct {
		const char *text;
		uint64_t value;
	} good[] = {{"0", 0},
		    {"1", 1000000},
		    {"0.04", 40000},
		    {"0.000001", 1},
		    {"12.5", 12500000},
		    {"1.000000", 1000000},
		    {"18446744073709", UINT64_C(18446744073709000000)}};
	static const char *const bad[] = {
		"",	".",	".5",  "1.",  "-1", "1.0000001",      "0,5",
		"1.-5", "1.+5", "1e3", "0x1", " 1", "18446744073710", "99999999999999999999999999"};
	uint64_t value;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		cr_assert_eq(adv_parse_millionths(good[i].text, &value), 0, "%s", good[i].text);
		cr_assert_eq(value, good[i].value, "%s", good[i].text);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		value = 77;
		cr_assert_lt(adv_parse_millionths(bad[i], &value), 0, "%s", bad[i]);
		cr_assert_eq(value, 77, "%s", bad[i]);
	}
}
