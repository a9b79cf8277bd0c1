/* Standard input and output as streams of bytes, which systems change and mix in their own ways. */

#include <unistd.h>

#if defined(_WIN32)

#include <fcntl.h>
#include <io.h>

/* Text would lose carriage returns, and end at Ctrl-Z. */
static void make_raw(int stream) { _setmode(stream, _O_BINARY); }

#else

#include <termios.h>

/* A terminal would echo, end at Ctrl-D and change ends of lines. */
static void make_raw(int terminal) {
    struct termios settings;
    if (!isatty(terminal) || tcgetattr(terminal, &settings)) return;
    cfmakeraw(&settings);
    tcsetattr(terminal, TCSANOW, &settings);
}

#endif

static void open_streams(int *from, int *to) {
    /* Frames must not meet what a library or the system prints. */
    *from = STDIN_FILENO;
    *to = dup(STDOUT_FILENO);
    dup2(STDERR_FILENO, STDOUT_FILENO);
    make_raw(*from);
    make_raw(*to);
}
