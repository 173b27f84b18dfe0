/* test_jobs.c - a thread for what blocks, and the queue without locks that it reports by: order, completeness, an end with work left. */
#include <criterion/criterion.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>

#include "util/jobs.h"

#define NR 100

struct count {
	struct adv_job job; /* first */
	int number;
};

static struct count counts[NR];
static int nr_run, nr_done;
static pthread_t runner;

static void run(struct adv_job *job)
{
	const struct count *c = (struct count *)job;
	cr_assert_eq(c->number, nr_run, "out of order");
	runner = pthread_self();
	nr_run++;
}

static void done(struct adv_job *job)
{
	const struct count *c = (struct count *)job;
	cr_assert_eq(c->number, nr_done, "out of order");
	nr_done++;
}

static struct adv_jobs *start(void)
{
	struct adv_jobs *jobs;
	cr_assert_eq(adv_jobs_create("test", &jobs), 0);
	for (int i = 0; i < NR; i++) {
		counts[i] = (struct count){.job = {.run = run, .done = done}, .number = i};
		adv_jobs_submit(jobs, &counts[i].job);
	}
	return jobs;
}

Test(jobs, all_of_them_in_order_on_one_thread)
{
	struct adv_jobs *jobs = start();
	struct pollfd p = {.fd = adv_jobs_fd(jobs), .events = POLLIN};
	while (nr_done < NR) {
		cr_assert_eq(poll(&p, 1, 60000), 1);
		adv_jobs_collect(jobs);
	}
	cr_assert_eq(nr_run, NR);
	cr_assert_not(pthread_equal(runner, pthread_self()));
	adv_jobs_collect(jobs);
	cr_assert_eq(nr_done, NR, "once");
	adv_jobs_destroy(jobs);
}

Test(jobs, what_is_queued_at_the_end_is_done)
{
	adv_jobs_destroy(start());
	cr_assert_eq(nr_run, NR);
	cr_assert_eq(nr_done, NR);
}

/* ---- the queue ---- */

Test(mailbox, oldest_first)
{
	struct adv_mailbox box = {NULL};
	struct adv_mail mails[3];
	cr_assert_not(adv_mailbox_any(&box));
	cr_assert_null(adv_mailbox_take(&box));
	cr_assert(adv_mailbox_put(&box, &mails[0]), "it was empty");
	cr_assert_not(adv_mailbox_put(&box, &mails[1]));
	cr_assert_not(adv_mailbox_put(&box, &mails[2]));
	cr_assert(adv_mailbox_any(&box));
	struct adv_mail *m = adv_mailbox_take(&box);
	for (int i = 0; i < 3; i++, m = m->next)
		cr_assert_eq(m, &mails[i]);
	cr_assert_null(m);
	cr_assert_not(adv_mailbox_any(&box));
	cr_assert(adv_mailbox_put(&box, &mails[0]), "it is empty again");
}

struct sender {
	pthread_t thread;
	struct {
		struct adv_mail mail; /* first */
		int sender, number;
	} mails[1000];
	struct adv_mailbox *box;
};

static void *send_all(void *argument)
{
	struct sender *s = argument;
	for (int i = 0; i < 1000; i++)
		adv_mailbox_put(s->box, &s->mails[i].mail);
	return NULL;
}

Test(mailbox, of_several_threads_each_in_order)
{
	static struct sender senders[4];
	struct adv_mailbox box = {NULL};
	int next[4] = {0}, taken = 0;
	for (int s = 0; s < 4; s++) {
		senders[s].box = &box;
		for (int i = 0; i < 1000; i++) {
			senders[s].mails[i].sender = s;
			senders[s].mails[i].number = i;
		}
		cr_assert_eq(pthread_create(&senders[s].thread, NULL, send_all, &senders[s]), 0);
	}
	while (taken < 4000)
		for (struct adv_mail *m = adv_mailbox_take(&box); m != NULL; m = m->next) {
			int sender, number;
			memcpy(&sender, m + 1, sizeof(sender));
			memcpy(&number, (char *)(m + 1) + sizeof(sender), sizeof(number));
			cr_assert_eq(number, next[sender]++);
			taken++;
		}
	for (int s = 0; s < 4; s++)
		pthread_join(senders[s].thread, NULL);
	cr_assert_null(adv_mailbox_take(&box));
}
