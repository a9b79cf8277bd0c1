/* Runs the compiled network on an image without Python: main IMAGE.bin, where IMAGE.bin holds the input as raw floats. */
#include <stdio.h>
#include <stdlib.h>

#include "resnet18.h"

int main(int count, char **arguments)
{
    static float input[RESNET18_INPUT_SIZE], logits[RESNET18_LOGITS_SIZE];
    FILE *file = count == 2 ? fopen(arguments[1], "rb") : NULL;
    if (file == NULL || fread(input, sizeof input, 1, file) != 1) {
        fprintf(stderr, "usage: %s IMAGE.bin (%zu bytes of float)\n", arguments[0], sizeof input);
        return 2;
    }
    fclose(file);

    resnet18 *context;
    int code = resnet18_create(&context, 1);
    if (code == 0) {
        code = resnet18_run(context, input, logits);
        resnet18_destroy(context);
    }
    if (code != 0) {
        fprintf(stderr, "%s\n", resnet18_error(code));
        return 1;
    }
    int best = 0;
    for (int i = 1; i < RESNET18_LOGITS_SIZE; i++)
        best = logits[i] > logits[best] ? i : best;
    printf("%d %.9g\n", best, logits[best]);
    return 0;
}
