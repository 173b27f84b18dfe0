/* cases.h - the groups of tests; each starts from a warden that lives and leaves it with no sandbox. */
#ifndef ADVERB_TESTS_SANDBOX_CASES_H
#define ADVERB_TESTS_SANDBOX_CASES_H

#include "harness.h"

void test_walls(struct adv_warden *warden);
void test_calls(struct adv_warden *warden);
void test_ordinary(struct adv_warden *warden);
void test_deaths(struct adv_warden *warden);
void test_denied(struct adv_warden *warden);
void test_modules(struct adv_warden *warden);
void test_orders(struct adv_warden *warden);
void test_requests(struct adv_warden *warden);

/* These start wardens of their own. `dir` is writable. */
void test_end(void);
void test_configuration(const char *dir);
void test_refused_start(void);
void test_privileges(void);
void test_faults(void);

#endif
