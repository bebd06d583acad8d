/*
 * Holds the namespaces of a pod: waits until it is told to end. Where the containers of a pod share its process
 * namespace this is process 1, to which orphans fall; the kernel buries them when nobody wants to know of them.
 */
#include <signal.h>
#include <stddef.h>

int main(void)
{
	sigset_t ends;
	int which;

	signal(SIGCHLD, SIG_IGN);
	sigemptyset(&ends);
	sigaddset(&ends, SIGTERM);
	sigaddset(&ends, SIGINT);
	sigprocmask(SIG_BLOCK, &ends, NULL);
	return sigwait(&ends, &which);
}
