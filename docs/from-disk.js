// Browsers refuse the search's worker to pages that were opened from the disk: no box then.
if (location.protocol === "file:") document.documentElement.classList.add("from-disk");
