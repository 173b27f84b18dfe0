/* test_status.c - every status has a number, a text and a name of its own; unknown ones have a text too. */
#include <criterion/criterion.h>
#include <ctype.h>
#include <string.h>

#include "adverb/status.h"

static const struct {
	unsigned number;
	const char *constant;
} statuses[] = {
#define ROW(name, number, text) {number, #name},
	ADV_STATUS_LIST(ROW)
#undef ROW
};

#define NR (sizeof(statuses) / sizeof(statuses[0]))

static bool is_known(unsigned number)
{
	for (size_t i = 0; i < NR; i++)
		if (statuses[i].number == number)
			return true;
	return false;
}

Test(status, texts_are_sentences_without_a_stop)
{
	for (size_t i = 0; i < NR; i++) {
		const char *text = adv_status_text(statuses[i].number);
		cr_assert_gt(strlen(text), 1);
		cr_assert_neq(text[strlen(text) - 1], '.', "%s", text);
		cr_assert_null(strchr(text, '\n'), "%s", text);
	}
}

Test(status, nothing_is_used_twice)
{
	for (size_t i = 0; i < NR; i++)
		for (size_t k = 0; k < i; k++) {
			cr_assert_neq(statuses[i].number, statuses[k].number);
			cr_assert_str_neq(adv_status_text(statuses[i].number),
					  adv_status_text(statuses[k].number));
			cr_assert_str_neq(adv_status_name(statuses[i].number),
					  adv_status_name(statuses[k].number));
		}
}

/* No name is cut: it is the whole constant in lower case. */
Test(status, names_are_the_constants)
{
	for (size_t i = 0; i < NR; i++) {
		const char *name = adv_status_name(statuses[i].number);
		const char *constant = statuses[i].constant + strlen("ADV_");
		cr_assert_eq(strlen(name), strlen(constant));
		for (size_t k = 0; constant[k] != '\0'; k++)
			cr_assert_eq(name[k], (char)tolower((unsigned char)constant[k]));
	}
}

Test(status, names_lead_back)
{
	for (size_t i = 0; i < NR; i++)
		cr_assert_eq(adv_status_from_name(adv_status_name(statuses[i].number)),
			     (int)statuses[i].number);
}

Test(status, unknown_numbers)
{
	const unsigned numbers[] = {13, 63, 85, 255, 65535, 65536, 1u << 31, ~0u};
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		cr_assert_not(is_known(numbers[i]), "%u is known: choose another", numbers[i]);
		cr_assert_gt(strlen(adv_status_text(numbers[i])), 0);
		cr_assert_str_eq(adv_status_name(numbers[i]), "unknown");
	}
}

Test(status, unknown_names)
{
	const char *const names[] = {"", "unknown", "OK", "ADV_OK", "ok ", "no_such", "o"};
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		cr_assert_eq(adv_status_from_name(names[i]), -1, "\"%s\"", names[i]);
}

/* These numbers are in entries on the wire and in death records of running nodes. */
Test(status, wire_numbers_stay)
{
	cr_assert_eq(ADV_OK, 0);
	cr_assert_eq(ADV_CRASHED, 2);
	cr_assert_eq(ADV_TIMEOUT, 6);
	cr_assert_eq(ADV_NOT_RUN, 9);
	cr_assert_eq(ADV_WORKER_LOST, 11);
	cr_assert_eq(ADV_LOAD_FAILED, 12);
	cr_assert_eq(ADV_NO_NODE, 64);
	cr_assert_eq(ADV_CLOSED, 83);
}
