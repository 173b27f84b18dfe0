/* test_death.c - how a sandbox's death is named to its caller. */
#include <criterion/criterion.h>
#include <signal.h>
#include <sys/wait.h>

#include "sandbox/proto.h"

struct row {
	struct adv_death death;
	enum adv_status status;
	uint32_t detail;
};

static void check(const struct row *rows, size_t nr)
{
	for (size_t i = 0; i < nr; i++) {
		uint32_t detail = 9999;
		enum adv_status status = adv_death_status(&rows[i].death, &detail);
		cr_assert_eq(status, rows[i].status, "row %zu: %s", i, adv_status_name(status));
		cr_assert_eq(detail, rows[i].detail, "row %zu: detail %u", i, detail);
	}
}

Test(death, signals)
{
	const struct row rows[] = {
		{{.code = CLD_KILLED, .status = SIGSEGV}, ADV_CRASHED, SIGSEGV},
		{{.code = CLD_DUMPED, .status = SIGFPE}, ADV_CRASHED, SIGFPE},
		{{.code = CLD_KILLED, .status = SIGSYS}, ADV_DENIED, SIGSYS},
		{{.code = CLD_DUMPED, .status = SIGSYS}, ADV_DENIED, SIGSYS},
		/* Nobody of ours sent it: the kernel, or the operator. */
		{{.code = CLD_KILLED, .status = SIGKILL}, ADV_CRASHED, SIGKILL},
	};
	check(rows, sizeof(rows) / sizeof(rows[0]));
}

Test(death, memory)
{
	const struct row rows[] = {
		{{.code = CLD_KILLED, .status = SIGKILL, .out_of_memory = 1},
		 ADV_OUT_OF_MEMORY,
		 SIGKILL},
		{{.code = CLD_KILLED, .status = SIGKILL, .out_of_memory = 1, .killed = 1},
		 ADV_OUT_OF_MEMORY,
		 SIGKILL},
		{{.code = CLD_EXITED, .status = ADV_EXIT_OUT_OF_MEMORY},
		 ADV_OUT_OF_MEMORY,
		 ADV_EXIT_OUT_OF_MEMORY},
	};
	check(rows, sizeof(rows) / sizeof(rows[0]));
}

/* What it died of counts when the node's SIGKILL came too late. */
Test(death, killed_by_the_node)
{
	const struct row rows[] = {
		{{.code = CLD_KILLED, .status = SIGKILL, .killed = 1}, ADV_WORKER_LOST, SIGKILL},
		{{.code = CLD_KILLED, .status = SIGSEGV, .killed = 1}, ADV_CRASHED, SIGSEGV},
		{{.code = CLD_KILLED, .status = SIGSYS, .killed = 1}, ADV_DENIED, SIGSYS},
		{{.code = CLD_EXITED, .status = 3, .killed = 1}, ADV_EXITED, 3},
	};
	check(rows, sizeof(rows) / sizeof(rows[0]));
}

Test(death, exits)
{
	const struct row rows[] = {
		{{.code = CLD_EXITED, .status = 0}, ADV_EXITED, 0},
		{{.code = CLD_EXITED, .status = 255}, ADV_EXITED, 255},
		{{.code = CLD_EXITED, .status = ADV_EXIT_ABORTED}, ADV_CRASHED, SIGABRT},
		{{.code = CLD_EXITED, .status = ADV_EXIT_CONFINEMENT},
		 ADV_LOAD_FAILED,
		 ADV_EXIT_CONFINEMENT},
		{{.code = CLD_EXITED, .status = ADV_EXIT_LANE}, ADV_LOAD_FAILED, ADV_EXIT_LANE},
	};
	check(rows, sizeof(rows) / sizeof(rows[0]));
}

Test(death, unknown_code)
{
	const struct row rows[] = {
		{{.code = 0, .status = 0}, ADV_WORKER_LOST, 0},
		{{.code = CLD_STOPPED, .status = SIGSTOP}, ADV_WORKER_LOST, SIGSTOP},
	};
	check(rows, sizeof(rows) / sizeof(rows[0]));
}
