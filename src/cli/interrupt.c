#include "cli/interrupt.h"

#include <signal.h>
#include <stdatomic.h>

static _Atomic(fl_session *) armed;
static atomic_bool arrived;

static void handle(int number)
{
    (void)number;
    atomic_store(&arrived, true);
    fl_session *session = atomic_load(&armed);
    if (session) fl_session_cancel(session);
}

void cli_interrupt_arm(fl_session *session)
{
    atomic_store(&arrived, false);
    atomic_store(&armed, session);
    struct sigaction action = {.sa_handler = handle, .sa_flags = (int)SA_RESETHAND};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

void cli_interrupt_disarm(void)
{
    struct sigaction action = {.sa_handler = SIG_DFL};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    atomic_store(&armed, NULL);
}

bool cli_interrupted(void)
{
    return atomic_load(&arrived);
}
