// The log-in: a name and a password, sent once.
import * as api from "./api.js";
import { h, replace } from "./dom.js";

const sayings = { ended: "The log-in has ended: it was not used for a while, or the password has changed. Log in again to go on.", out: "You are logged out." };

export function showLogin(app, why) {
    const problem = h("p", { class: "note bad", role: "alert", hidden: true });
    const name = h("input", { name: "username", autocomplete: "username", autocapitalize: "none", spellcheck: "false", required: true, id: "login-name" });
    const password = h("input", { name: "password", type: "password", autocomplete: "current-password", id: "login-password" });
    const submit = h("button", { class: "primary", type: "submit" }, "Log in");
    async function onsubmit(event) {
        event.preventDefault();
        submit.disabled = true;
        problem.hidden = true;
        try {
            await api.logIn(name.value, password.value);
        } catch (error) {
            const texts = {
                401: error.message === "Login failed" ? "The name or the password is wrong, or this user may only log in from the broker's own machine." : "This user has none of the tags management, monitoring, policymaker, administrator.",
                429: "Too many refused log-ins from your address. Wait ten seconds.",
            };
            replace(problem, texts[error.status] ?? error.message);
            problem.hidden = false;
            submit.disabled = false;
            password.select();
            password.focus();
        }
    }
    replace(app, h("main", { class: "login", tabindex: "-1", id: "main" },
        h("form", { onsubmit },
            h("h1", null, h("img", { src: document.querySelector("link[rel=icon]").href, alt: "", width: 28, height: 28 }), "Leveret"),
            sayings[why] ? h("p", { class: "note", role: "status" }, sayings[why]) : null,
            problem,
            h("label", { for: "login-name" }, "User name"), name,
            h("label", { for: "login-password" }, "Password"), password,
            submit)));
    name.focus();
}
