/* jobs.c - the thread for what blocks, and its queue. */
#include "util/jobs.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct adv_jobs {
	pthread_t thread;
	pthread_mutex_t lock; /* guards the queue and `stop` */
	pthread_cond_t wake;
	struct adv_job *first, **last;
	bool stop;
	struct adv_mailbox finished;
	int event_fd;
};

static struct adv_job *next_job(struct adv_jobs *j)
{
	pthread_mutex_lock(&j->lock);
	while (j->first == NULL && !j->stop)
		pthread_cond_wait(&j->wake, &j->lock);
	struct adv_job *job = j->first;
	if (job != NULL) {
		j->first = job->next;
		if (j->first == NULL)
			j->last = &j->first;
	}
	pthread_mutex_unlock(&j->lock);
	return job;
}

static void *thread_main(void *arg)
{
	struct adv_jobs *j = arg;
	struct adv_job *job;
	while ((job = next_job(j)) != NULL) {
		uint64_t one = 1;
		job->run(job);
		if (!adv_mailbox_put(&j->finished, &job->mail))
			continue;
		ssize_t ignored = write(j->event_fd, &one, sizeof(one));
		(void)ignored;
	}
	return NULL;
}

int adv_jobs_create(const char *name, struct adv_jobs **out)
{
	sigset_t all, before;
	struct adv_jobs *j = calloc(1, sizeof(*j));
	if (j == NULL)
		return -ENOMEM;
	j->last = &j->first;
	j->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int rc = j->event_fd < 0 ? -errno : 0;
	if (rc == 0) {
		pthread_mutex_init(&j->lock, NULL);
		pthread_cond_init(&j->wake, NULL);
		sigfillset(&all);
		pthread_sigmask(SIG_SETMASK, &all, &before);
		rc = -pthread_create(&j->thread, NULL, thread_main, j);
		pthread_sigmask(SIG_SETMASK, &before, NULL);
	}
	if (rc < 0) {
		if (j->event_fd >= 0)
			close(j->event_fd);
		free(j);
		return rc;
	}
	pthread_setname_np(j->thread, name);
	*out = j;
	return 0;
}

void adv_jobs_submit(struct adv_jobs *j, struct adv_job *job)
{
	job->next = NULL;
	pthread_mutex_lock(&j->lock);
	*j->last = job;
	j->last = &job->next;
	pthread_cond_signal(&j->wake);
	pthread_mutex_unlock(&j->lock);
}

int adv_jobs_fd(const struct adv_jobs *j)
{
	return j->event_fd;
}

void adv_jobs_collect(struct adv_jobs *j)
{
	uint64_t count;
	ssize_t ignored = read(j->event_fd, &count, sizeof(count));
	(void)ignored;
	struct adv_mail *mail = adv_mailbox_take(&j->finished);
	while (mail != NULL) {
		struct adv_job *job = (struct adv_job *)mail;
		mail = mail->next;
		if (job->done != NULL)
			job->done(job);
	}
}

void adv_jobs_destroy(struct adv_jobs *j)
{
	if (j == NULL)
		return;
	pthread_mutex_lock(&j->lock);
	j->stop = true;
	pthread_cond_signal(&j->wake);
	pthread_mutex_unlock(&j->lock);
	pthread_join(j->thread, NULL);
	adv_jobs_collect(j);
	pthread_cond_destroy(&j->wake);
	pthread_mutex_destroy(&j->lock);
	close(j->event_fd);
	free(j);
}
