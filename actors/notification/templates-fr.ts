/**
 * What customers read in French: a text for every event and channel.
 *
 * SMS stay within 160 characters for ids of usual length. Nothing here links anywhere: a message
 * that asks for a click is what forgers send.
 */

import type { LanguageTemplates } from "./templates.ts";

export const FRENCH: LanguageTemplates = {
  language: "fr",
  events: {
    "order.created": {
      email: {
        subject: "Votre commande {orderId}",
        text: [
          "Bonjour,",
          "nous avons bien reçu votre commande {orderId} d’un montant de {amount}.",
          "Nous vous écrirons dès qu’elle quittera notre entrepôt.",
          "Merci de votre confiance.",
        ],
      },
      sms: { text: "Nous avons bien reçu votre commande {orderId} ({amount})." },
      push: { subject: "Commande reçue", text: "Votre commande de {amount} est enregistrée." },
    },
    "payment.failed": {
      email: {
        subject: "Échec du paiement de votre commande {orderId}",
        text: [
          "Bonjour,",
          "le paiement de {amount} pour votre commande {orderId} a échoué.",
          "Vous n’aurez rien à payer.",
        ],
      },
      sms: { text: "Le paiement de {amount} pour votre commande {orderId} a échoué." },
      push: { subject: "Échec du paiement", text: "Le paiement de {amount} a échoué." },
    },
    "order.shipped": {
      email: {
        subject: "Votre commande {orderId} est en route",
        text: [
          "Bonjour,",
          "votre commande {orderId} a quitté notre entrepôt.",
          "Transporteur : {carrier}\nNuméro de suivi : {trackingNumber}",
        ],
      },
      sms: { text: "Votre commande {orderId} est en route. Numéro de suivi : {trackingNumber}" },
      push: { subject: "En route", text: "{carrier} achemine votre colis {trackingNumber}." },
    },
    "order.delivered": {
      email: {
        subject: "Votre commande {orderId} a été livrée",
        text: [
          "Bonjour,",
          "votre commande {orderId} a été livrée (numéro de suivi {trackingNumber}).",
          "Nous espérons qu’elle vous plaira.",
        ],
      },
      sms: { text: "Votre commande {orderId} a été livrée." },
      push: { subject: "Livrée", text: "Votre colis {trackingNumber} a été livré." },
    },
    "order.cancelled": {
      email: {
        subject: "Votre commande {orderId} a été annulée",
        text: [
          "Bonjour,",
          "votre commande {orderId} a été annulée. {reason}",
          "Ce que vous avez payé vous sera remboursé.",
        ],
      },
      sms: { text: "Votre commande {orderId} a été annulée. {reason}" },
      push: { subject: "Commande annulée", text: "{reason}" },
    },
    "payment.refunded": {
      email: {
        subject: "Remboursement de votre commande {orderId}",
        text: ["Bonjour,", "nous vous avons remboursé {amount} pour votre commande {orderId}."],
      },
      sms: { text: "Nous vous avons remboursé {amount} pour votre commande {orderId}." },
      push: { subject: "Remboursement", text: "Nous vous avons remboursé {amount}." },
    },
  },
  reasons: {
    payment_failed: "Le paiement a échoué.",
    out_of_stock: "Certains articles sont épuisés.",
    reservation_expired: "Le paiement n’est pas arrivé à temps.",
    requested: "Vous nous l’avez demandé.",
  },
};
