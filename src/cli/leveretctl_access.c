// leveretctl_access.c: users, tags, passwords, permissions, topic permissions.
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <termios.h>
#include <unistd.h>

#include "src/base/mem.h"
#include "src/cli/leveretctl.h"

// --- passwords ------------------------------------------------------------------------------------------------------------------

// LIMIT: bytes of a password read from standard input.
enum { PASSWORD_MAX = 4096 };

char *
ctl_read_password(struct ctl *c, FILE *prompt)
{
    struct termios shown, hidden;
    char line[PASSWORD_MAX];
    fputs("Password: ", prompt);
    fflush(prompt);
    int fd = fileno(c->in);
    bool is_terminal = fd >= 0 && isatty(fd) && tcgetattr(fd, &shown) == 0;
    if (is_terminal) {
        hidden = shown;
        hidden.c_lflag &= (tcflag_t)~ECHO;
        tcsetattr(fd, TCSAFLUSH, &hidden);
    }
    const char *got = fgets(line, sizeof line, c->in);
    if (is_terminal)
        tcsetattr(fd, TCSAFLUSH, &shown);
    fputc('\n', prompt);
    if (got == NULL)
        return NULL;
    line[strcspn(line, "\r\n")] = '\0';
    char *password = mem_xstrdup(line);
    mem_wipe(line, sizeof line);
    return password;
}

void
ctl_password_free(char *password)
{
    mem_wipe(password, strlen(password));
    mem_free(password);
}

// The argument, or a line of standard input. NULL: there is none, and it was told. Heap.
static char *
password_of(struct ctl *c, size_t argument)
{
    if (ctl_arg(c, argument) != NULL)
        return mem_xstrdup(ctl_arg(c, argument));
    char *password = ctl_read_password(c, c->out);
    if (password == NULL)
        ctl_fail(c, CTL_DATA, "Password is not provided via argument or stdin");
    return password;
}

// --- users ----------------------------------------------------------------------------------------------------------------------

static int
check_user_name(struct ctl *c)
{
    return ctl_arg(c, 0)[0] == '\0' ? ctl_bad_argument(c, "user cannot be an empty string") : 0;
}

static int
run_add_user(struct ctl *c)
{
    const char *user = ctl_arg(c, 0);
    ctl_banner(c, "Adding user \"%s\" ...", user);
    if (c->options.is_dry_run)
        return CTL_OK;
    char *password = password_of(c, 1);
    if (password == NULL)
        return CTL_DATA;
    json_t *body = json_pack("{s:s, s:s}", "password", password, "tags", "");
    ctl_password_free(password);
    int status = ctl_put_only(c, "new", body, "users", user);
    if (status != 0 || c->answer.status >= 300)
        return ctl_finish(c, status);
    static const char advice[] =
        "Done. Don't forget to grant the user permissions to some virtual hosts! See '%s help "
        "set_permissions' to learn more.";
    if (!ctl_is_json(c))
        return c->options.is_quiet || c->options.is_silent ? CTL_OK : ctl_say(c, NULL, advice, c->program);
    struct buf text = BUF_INIT;
    buf_printf(&text, advice, c->program);
    ctl_print_json(
        c, c->out,
        json_pack("{s:s, s:s, s:s}", "message", buf_cstr(&text), "node", ctl_node(c), "status", "ok"));
    buf_fini(&text);
    return CTL_OK;
}

static int
run_change_password(struct ctl *c)
{
    const char *user = ctl_arg(c, 0);
    ctl_banner(c, "Changing password for user \"%s\" ...", user);
    if (c->options.is_dry_run)
        return CTL_OK;
    char *password = password_of(c, 1);
    if (password == NULL)
        return CTL_DATA;
    json_t *body = json_pack("{s:s}", "password", password);
    ctl_password_free(password);
    return ctl_finish(c, ctl_put_only(c, "existing", body, "users", user));
}

static int
run_clear_password(struct ctl *c)
{
    const char *user = ctl_arg(c, 0);
    ctl_banner(c, "Clearing password for user \"%s\" ...", user);
    if (c->options.is_dry_run)
        return CTL_OK;
    int status = ctl_put_only(c, "existing", json_pack("{s:s}", "password_hash", ""), "users", user);
    if (status == 0 && c->answer.status == 404)
        return ctl_fail_no_such_user(c, user);
    return ctl_finish(c, status);
}

static int
run_delete_user(struct ctl *c)
{
    const char *user = ctl_arg(c, 0);
    ctl_banner(c, "Deleting user \"%s\" ...", user);
    if (c->options.is_dry_run)
        return CTL_OK;
    return ctl_finish(c, ctl_call(c, "DELETE", NULL, "users", user, NULL));
}

static int
run_set_user_tags(struct ctl *c)
{
    struct buf shown = BUF_INIT, tags = BUF_INIT;
    const char *user = ctl_arg(c, 0);
    int status = CTL_OK;
    ctl_words(&shown, c, 1, ", ");
    ctl_words(&tags, c, 1, ",");
    ctl_banner(c, "Setting tags for user \"%s\" to [%s] ...", user, buf_cstr(&shown));
    if (!c->options.is_dry_run) {
        json_t *body = json_pack("{s:s}", "tags", buf_cstr(&tags));
        status = ctl_finish(c, ctl_put_only(c, "existing", body, "users", user));
    }
    buf_fini(&shown);
    buf_fini(&tags);
    return status;
}

static int
run_authenticate_user(struct ctl *c)
{
    const char *user = ctl_arg(c, 0);
    ctl_banner(c, "Authenticating user \"%s\" ...", user);
    if (c->options.is_dry_run)
        return CTL_OK;
    char *password = password_of(c, 1);
    if (password == NULL)
        return CTL_DATA;
    int status = ctl_authenticate(c, user, password);
    ctl_password_free(password);
    if (status != 0)
        return status;
    if (c->answer.status == 401)
        return ctl_fail(c, CTL_DATA, "Error: failed to authenticate user \"%s\"\n%s", user, ctl_reason(c));
    return c->answer.status == 200 ? ctl_say(c, NULL, "Success") : ctl_refused(c);
}

// --- hashes ---------------------------------------------------------------------------------------------------------------------

enum { SALT_BYTES = 4, HASH_BYTES_MAX = SALT_BYTES + EVP_MAX_MD_SIZE };

// What set into "password_hash" of a definitions file or an HTTP request makes this the password: base64(salt + digest).
static int
run_hash_password(struct ctl *c)
{
    uint8_t hash[HASH_BYTES_MAX];
    unsigned char encoded[2 * HASH_BYTES_MAX];
    unsigned digest_len = 0;
    const char *name = c->options.algorithm != NULL ? c->options.algorithm : "sha256";
    bool is_known = strcmp(name, "sha256") == 0 || strcmp(name, "sha512") == 0;
    if (!is_known)
        return ctl_fail(c, CTL_DATA, "algorithm %s is not supported. Try one of sha256, sha512", name);
    ctl_banner(c, "Will hash password ...");
    char *password = password_of(c, 0);
    if (password == NULL)
        return CTL_DATA;
    EVP_MD_CTX *digest = EVP_MD_CTX_new();
    bool is_done = digest != NULL && RAND_bytes(hash, SALT_BYTES) == 1 &&
                   EVP_DigestInit_ex(digest, EVP_get_digestbyname(name), NULL) == 1 &&
                   EVP_DigestUpdate(digest, hash, SALT_BYTES) == 1 &&
                   EVP_DigestUpdate(digest, password, strlen(password)) == 1 &&
                   EVP_DigestFinal_ex(digest, hash + SALT_BYTES, &digest_len) == 1;
    EVP_MD_CTX_free(digest);
    ctl_password_free(password);
    if (!is_done)
        return ctl_fail(c, CTL_SOFTWARE, "the password cannot be hashed");
    EVP_EncodeBlock(encoded, hash, (int)(SALT_BYTES + digest_len));
    return ctl_say(c, NULL, "%s", (const char *)encoded);
}

// --- regular expressions --------------------------------------------------------------------------------------------------------

// The broker says "invalid regular expression '[': missing … at offset 1"; rabbitmqctl shows the term it got.
static int
finish_patterns(struct ctl *c, int status, char quote)
{
    static const char head[] = "invalid regular expression '", middle[] = "': ", tail[] = " at offset ";
    const char *reason = ctl_reason(c);
    const char *text = NULL, *offset = NULL;
    if (status != 0 || c->answer.status != 400 || strncmp(reason, head, sizeof head - 1) != 0)
        return ctl_finish(c, status);
    const char *pattern = reason + sizeof head - 1;
    for (const char *at = pattern; (at = strstr(at, middle)) != NULL; at++)
        text = at; // the last: the pattern may hold anything
    for (const char *at = text; at != NULL && (at = strstr(at, tail)) != NULL; at++)
        offset = at;
    if (offset == NULL)
        return ctl_refused(c);
    return ctl_fail(c, CTL_UNAVAILABLE, "{:invalid_regexp, %c%.*s%c, {'%.*s', %s}}", quote,
                    (int)(text - pattern), pattern, quote, (int)(offset - text - (int)sizeof middle + 1),
                    text + sizeof middle - 1, offset + sizeof tail - 1);
}

// --- permissions ----------------------------------------------------------------------------------------------------------------

static int
run_set_permissions(struct ctl *c)
{
    const char *user = ctl_arg(c, 0), *vhost = ctl_vhost(c);
    ctl_banner(c, "Setting permissions for user \"%s\" in vhost \"%s\" ...", user, vhost);
    if (c->options.is_dry_run)
        return CTL_OK;
    json_t *body = json_pack("{s:s, s:s, s:s}", "configure", ctl_arg(c, 1), "write", ctl_arg(c, 2), "read",
                             ctl_arg(c, 3));
    return finish_patterns(c, ctl_call(c, "PUT", body, "permissions", vhost, user, NULL), '\'');
}

static int
run_clear_permissions(struct ctl *c)
{
    const char *user = ctl_arg(c, 0), *vhost = ctl_vhost(c);
    ctl_banner(c, "Clearing permissions for user \"%s\" in vhost \"%s\" ...", user, vhost);
    if (c->options.is_dry_run)
        return CTL_OK;
    return ctl_finish(c, ctl_call(c, "DELETE", NULL, "permissions", vhost, user, NULL));
}

static int
run_set_topic_permissions(struct ctl *c)
{
    const char *user = ctl_arg(c, 0), *exchange = ctl_arg(c, 1), *vhost = ctl_vhost(c);
    ctl_banner(c, "Setting topic permissions on \"%s\" for user \"%s\" in vhost \"%s\" ...", exchange, user,
               vhost);
    if (c->options.is_dry_run)
        return CTL_OK;
    json_t *body =
        json_pack("{s:s, s:s, s:s}", "exchange", exchange, "write", ctl_arg(c, 2), "read", ctl_arg(c, 3));
    return finish_patterns(c, ctl_call(c, "PUT", body, "topic-permissions", vhost, user, NULL), '"');
}

static int
run_clear_topic_permissions(struct ctl *c)
{
    const char *user = ctl_arg(c, 0), *vhost = ctl_vhost(c);
    ctl_banner(c, "Clearing topic permissions for user \"%s\" in vhost \"%s\" ...", user, vhost);
    if (c->options.is_dry_run)
        return CTL_OK;
    return ctl_finish(c, ctl_call(c, "DELETE", NULL, "topic-permissions", vhost, user, ctl_arg(c, 1), NULL));
}

#define USER_DETAIL     "<username>\n\tname of the user\n\n"
#define PASSWORD_DETAIL "<password>\n\tits password; read from standard input when it is left out\n\n"
#define PATTERN_DETAILS(what)                                                                                \
    what "<write>\n\tregular expression of the names that may be written to\n\n"                             \
         "<read>\n\tregular expression of the names that may be read from\n\n"

const struct ctl_command ctl_commands_access[] = {
    {"add_user", GROUP_USERS, "<username> [<password>]",
     "Creates a user, without permissions for any virtual host", USER_DETAIL PASSWORD_DETAIL, 1, 2, 0, NULL,
     run_add_user, check_user_name},
    {"authenticate_user", GROUP_USERS, "<username> [<password>]",
     "Checks a user's password: exit status 65 when it is not the one", USER_DETAIL PASSWORD_DETAIL, 1, 2, 0,
     NULL, run_authenticate_user, check_user_name},
    {"change_password", GROUP_USERS, "<username> [<password>]", "Changes a user's password",
     USER_DETAIL PASSWORD_DETAIL, 1, 2, 0, NULL, run_change_password, check_user_name},
    {"clear_password", GROUP_USERS, "<username>", "Removes a user's password: no login by password any more",
     USER_DETAIL, 1, 1, 0, NULL, run_clear_password, check_user_name},
    {"delete_user", GROUP_USERS, "<username>", "Deletes a user and all its permissions", USER_DETAIL, 1, 1, 0,
     NULL, run_delete_user, check_user_name},
    {"hash_password", GROUP_USERS, "[<password>] [--algorithm sha256|sha512]",
     "Prints a password's hash; needs no broker", PASSWORD_DETAIL, 0, 1, OPTION_ALGORITHM, NULL,
     run_hash_password, NULL},
    {"set_user_tags", GROUP_USERS, "<username> <tag> [...]", "Sets a user's tags",
     USER_DETAIL "<tag>\n\tadministrator, monitoring, policymaker, management, or any other word; none: all "
                 "are removed\n\n",
     1, CTL_ARGS_ANY, 0, NULL, run_set_user_tags, check_user_name},
    {"set_permissions", GROUP_ACCESS, "[--vhost <vhost>] <username> <conf> <write> <read>",
     "Sets a user's permissions in a vhost",
     USER_DETAIL PATTERN_DETAILS(
         "<conf>\n\tregular expression of the names that may be declared and deleted\n\n"),
     4, 4, 0, NULL, run_set_permissions, check_user_name},
    {"clear_permissions", GROUP_ACCESS, "[--vhost <vhost>] <username>",
     "Takes away a user's permissions in a vhost", USER_DETAIL, 1, 1, 0, NULL, run_clear_permissions,
     check_user_name},
    {"set_topic_permissions", GROUP_ACCESS, "[--vhost <vhost>] <username> <exchange> <write> <read>",
     "Sets a user's permissions by routing key on a topic exchange",
     USER_DETAIL PATTERN_DETAILS("<exchange>\n\tname of the topic exchange\n\n"), 4, 4, 0, NULL,
     run_set_topic_permissions, check_user_name},
    {"clear_topic_permissions", GROUP_ACCESS, "[--vhost <vhost>] <username> [<exchange>]",
     "Takes away a user's topic permissions in a vhost, or those on one exchange",
     USER_DETAIL "<exchange>\n\tname of the topic exchange; left out: all\n\n", 1, 2, 0, NULL,
     run_clear_topic_permissions, check_user_name},
    {.name = NULL},
};
