/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "engine.h"

enum log_level log_threshold = LOG_INFO;

static const char *const level_names[] = {"error", "warn", "info", "debug"};

void log_line(enum log_level level, const char *format, ...)
{
	if (level > log_threshold)
		return;
	char line[2048];
	struct timespec now;
	struct tm utc;
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &utc);
	size_t n = strftime(line, sizeof(line), "%Y-%m-%dT%H:%M:%S", &utc);
	/* With the process: several engines write to one log while the old ones drain. */
	n += (size_t)snprintf(line + n, sizeof(line) - n, ".%03ldZ %-5s [%d] ", now.tv_nsec / 1000000,
	                      level_names[level], (int)getpid());
	size_t text = n;

	va_list args;
	va_start(args, format);
	int m = vsnprintf(line + n, sizeof(line) - n - 1, format, args);
	va_end(args);
	if (m > 0)
		n += (size_t)m < sizeof(line) - n - 1 ? (size_t)m : sizeof(line) - n - 2;
	/* One record stays one line, whatever a peer put into a name. */
	for (size_t i = text; i < n; i++) {
		if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
			line[i] = '?';
	}
	line[n++] = '\n';
	ssize_t written = write(STDERR_FILENO, line, n); /* one write, so that lines of threads do not mix */
	(void)written;
}
