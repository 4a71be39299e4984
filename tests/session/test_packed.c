/* Sessions on a packed model: snapshots pass between it and the model it was packed from, whose bits are its own, and
 * those of another training of the same shape are refused. */
#include "session_case.h"

#define TOKENS 40
#define OTHER FL_TEST_DATA "/models/aidreams260K/aidreams260K.bin"

static char folder[64], packed[128], snapshot[128];

static int make(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/furlong-packed-XXXXXX");
    if (!mkdtemp(folder)) return 1;
    snprintf(packed, sizeof packed, "%s/model.flpack", folder);
    snprintf(snapshot, sizeof snapshot, "%s/snapshot", folder);
    return 0;
}

static int drop(void **state)
{
    (void)state;
    unlink(packed);
    unlink(snapshot);
    return rmdir(folder);
}

static void check_moved(const fl_model *from, const fl_model *to)
{
    int32_t ids[TOKENS + 1];
    random_ids(ids, TOKENS + 1, from->config.vocab, 5);
    fl_session *a = session_of(from, 0, 16), *b = session_of(to, 0, 16);
    must(fl_session_read(a, ids, TOKENS));
    must(fl_session_save(a, snapshot));
    must(fl_session_restore(b, snapshot));
    must(fl_session_read(a, ids + TOKENS, 1));
    must(fl_session_read(b, ids + TOKENS, 1));
    assert_same_bits(fl_session_logits(a), fl_session_logits(b), from->config.vocab);
    fl_session_destroy(a);
    fl_session_destroy(b);
}

static void test_snapshots(void **state)
{
    (void)state;
    fl_engine *engine = engine_of(1, NULL, NULL);
    fl_model *plain = model_of(engine, STORIES);
    must(fl_model_pack(plain, packed, NULL));
    fl_model *mapped = model_of(engine, packed);
    check_moved(plain, mapped);
    check_moved(mapped, plain);

    fl_model *other = model_of(engine, OTHER);
    fl_session *s = session_of(other, 0, 16);
    assert_int_equal(fl_session_restore(s, snapshot), FL_ERR_STATE); /* of the packed model's session */
    fl_session_destroy(s);
    must(fl_model_pack(other, packed, NULL));
    fl_model *other_mapped = model_of(engine, packed);
    s = session_of(other_mapped, 0, 16);
    assert_int_equal(fl_session_restore(s, snapshot), FL_ERR_STATE);
    fl_session_destroy(s);
    fl_model_close(other_mapped);
    fl_model_close(other);
    fl_model_close(mapped);
    fl_model_close(plain);
    fl_engine_destroy(engine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_snapshots)};
    return cmocka_run_group_tests(tests, make, drop);
}
