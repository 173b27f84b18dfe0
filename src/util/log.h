/*
 * log.h - the node's log: lines on standard error, with a level that systemd understands ("<3>") when it reads them.
 * Any thread; one write(2) a line. Not for pollers and workers while hot.
 */
#ifndef ADVERB_UTIL_LOG_H
#define ADVERB_UTIL_LOG_H

enum adv_log_level {
	ADV_LOG_ERROR = 3,
	ADV_LOG_WARNING = 4,
	ADV_LOG_INFO = 6,
	ADV_LOG_DEBUG = 7,
};

/* Who speaks ("adverb", "warden"), the least important level that is shown, and whether to write "<N>" (JOURNAL_STREAM is set). */
void adv_log_init(const char *who, enum adv_log_level most);

void adv_log_line(enum adv_log_level level, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

#define adv_log_error(...)   adv_log_line(ADV_LOG_ERROR, __VA_ARGS__)
#define adv_log_warning(...) adv_log_line(ADV_LOG_WARNING, __VA_ARGS__)
#define adv_log_info(...)    adv_log_line(ADV_LOG_INFO, __VA_ARGS__)
#define adv_log_debug(...)   adv_log_line(ADV_LOG_DEBUG, __VA_ARGS__)

#endif
