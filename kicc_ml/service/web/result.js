// The page of a result begins in English; a reader who chose Korean for the list gets it in Korean.
(function () {
  "use strict";
  var language = document.querySelector("nav[data-language]").getAttribute("data-language");
  var button = document.querySelector('button[data-language="' + language + '"]');
  if (button) button.click();
})();
