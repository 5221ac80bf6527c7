/* A delegate library as Arm NN's and the Edge TPU's are loaded, for tests: it takes every RESHAPE and really computes
 * it, or misbehaves as its option `behaviour` says: noise takes the operator `node`, whatever it is, and answers with
 * noise. Built by tests/fakes/delegates.py.
 *
 * The declarations repeat the binary interface of the runtime, as far as it is used here:
 * tensorflow/lite/core/c/common.h and tensorflow/lite/delegates/external/external_delegate_interface.h.
 */
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OK = 0, ERROR = 1, RESHAPE = 22, MOST_NODES = 256 };

typedef struct { int size; int data[]; } IntArray;
typedef struct { int type; IntArray *array; } Quantization;

typedef struct {
    int type;
    void *data;
    IntArray *dims;
    struct { float scale; int32_t zero_point; } params;
    int allocation_type;
    size_t bytes;
    const void *allocation;
    const char *name;
    struct Delegate *delegate;
    int buffer_handle;
    bool data_is_stale, is_variable;
    struct { int type; void *params; } quantization;
    void *sparsity;
    const IntArray *dims_signature;
} Tensor;

typedef struct { IntArray *inputs, *outputs, *intermediates, *temporaries; void *user_data; } Node;
typedef struct { struct Delegate *delegate; IntArray *nodes_to_replace, *inputs, *outputs; } DelegateParams;

typedef struct Context Context;
typedef struct Registration {
    void *(*init)(Context *, const char *, size_t);
    void (*free)(Context *, void *);
    int (*prepare)(Context *, Node *);
    int (*invoke)(Context *, Node *);
    const char *(*profiling_string)(const Context *, const Node *);
    int32_t builtin_code;
    const char *custom_name;
    int version;
    void *external, *async_kernel;
    uint64_t inplace_operator;
} Registration;

struct Context {
    size_t tensors_size;
    int (*GetExecutionPlan)(Context *, IntArray **);
    Tensor *tensors;
    void *impl;
    int (*ResizeTensor)(Context *, Tensor *, IntArray *);
    void (*ReportError)(Context *, const char *, ...);
    int (*AddTensors)(Context *, int, int *);
    int (*GetNodeAndRegistration)(Context *, int, Node **, Registration **);
    int (*ReplaceNodeSubsets)(Context *, Registration, const IntArray *, struct Delegate *);
};

typedef struct Delegate {
    void *data;
    int (*Prepare)(Context *, struct Delegate *);
    void *copy_from_buffer, *copy_to_buffer, *free_buffer;
    int64_t flags;
    void *opaque_builder;
} Delegate;

static char behaviour[32];
static int invokes_left; /* until crash_later crashes */
static int noisy_node;   /* its place in the execution plan */

static void crash(void) { raise(SIGSEGV); }
static bool is_told_to(const char *what) { return strcmp(behaviour, what) == 0; }

/* The kernel of one partition: pairs of tensors to copy. */
typedef struct { int count; int pairs[MOST_NODES][2]; } Kernel;

static void *kernel_init(Context *context, const char *buffer, size_t length) {
    const DelegateParams *params = (const DelegateParams *)buffer;
    Kernel *kernel = calloc(1, sizeof *kernel);
    (void)length;
    for (int i = 0; i < params->nodes_to_replace->size; i++) {
        Node *node;
        Registration *registration;
        context->GetNodeAndRegistration(context, params->nodes_to_replace->data[i], &node, &registration);
        kernel->pairs[i][0] = node->inputs->data[0];
        kernel->pairs[i][1] = node->outputs->data[0];
        kernel->count++;
    }
    return kernel;
}

static void kernel_free(Context *context, void *kernel) { (void)context; free(kernel); }

static int kernel_prepare(Context *context, Node *node) {
    (void)context, (void)node;
    if (is_told_to("crash_prepare")) crash();
    return is_told_to("fail_prepare") ? ERROR : OK;
}

static int kernel_invoke(Context *context, Node *node) {
    const Kernel *kernel = node->user_data;
    if (is_told_to("crash_invoke") || (is_told_to("crash_later") && --invokes_left < 0)) crash();
    while (is_told_to("hang")) pause();
    if (is_told_to("fail_invoke")) return ERROR;
    if (is_told_to("noise")) {
        Tensor *to = &context->tensors[kernel->pairs[0][1]];
        for (size_t i = 0; i < to->bytes; i++) ((char *)to->data)[i] = (char)(rand() >> 8);
        return OK;
    }
    for (int i = 0; i < kernel->count; i++) {
        const Tensor *from = &context->tensors[kernel->pairs[i][0]];
        Tensor *to = &context->tensors[kernel->pairs[i][1]];
        memcpy(to->data, from->data, to->bytes);
        if (is_told_to("wrong")) memset(to->data, 77, to->bytes);
    }
    return OK;
}

static int delegate_prepare(Context *context, Delegate *delegate) {
    Registration kernel = {.init = kernel_init, .free = kernel_free, .prepare = kernel_prepare,
                           .invoke = kernel_invoke, .custom_name = "Shim", .version = 1};
    IntArray *plan, *taken = calloc(1, sizeof(IntArray) + MOST_NODES * sizeof(int));
    int status = context->GetExecutionPlan(context, &plan);
    for (int i = 0; status == OK && i < plan->size && taken->size < MOST_NODES; i++) {
        Node *node;
        Registration *registration;
        status = context->GetNodeAndRegistration(context, plan->data[i], &node, &registration);
        bool is_wanted = is_told_to("noise") ? i == noisy_node : registration->builtin_code == RESHAPE;
        if (status == OK && is_wanted && !is_told_to("take_none"))
            taken->data[taken->size++] = plan->data[i];
    }
    if (status == OK && taken->size) status = context->ReplaceNodeSubsets(context, kernel, taken, delegate);
    free(taken);
    return status;
}

Delegate *tflite_plugin_create_delegate(const char *const *keys, const char *const *values, size_t count,
                                        void (*report_error)(const char *)) {
    for (size_t i = 0; i < count; i++) {
        if (strcmp(keys[i], "behaviour") == 0) strncpy(behaviour, values[i], sizeof behaviour - 1);
        if (strcmp(keys[i], "invokes") == 0) invokes_left = atoi(values[i]);
        if (strcmp(keys[i], "node") == 0) noisy_node = atoi(values[i]);
    }
    if (is_told_to("crash_create")) crash();
    if (is_told_to("refuse")) {
        report_error("no accelerator was found");
        return NULL;
    }
    Delegate *delegate = calloc(1, sizeof *delegate);
    delegate->Prepare = delegate_prepare;
    return delegate;
}

void tflite_plugin_destroy_delegate(Delegate *delegate) { free(delegate); }
