// The theme that was chosen, before anything is drawn. Without a choice the system's counts.
(() => {
    try {
        const theme = localStorage.getItem("leveret.theme");
        if (theme === "light" || theme === "dark")
            document.documentElement.dataset.theme = theme;
    } catch {
        // No storage: the system's theme.
    }
})();
